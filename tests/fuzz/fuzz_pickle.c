/* fuzz_pickle.c - the pickle machine and its JSON, from memory. */
#include "../../nn/pickle.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    pickle *p;
    size_t used;
    char *json = NULL;
    if (pickle_read(&p, data, size, &used, "fuzz", NULL)) return 0;
    if (used > size) abort();
    pickle_json(&json, pickle_root(p), NULL, "fuzz", NULL);
    free(json);
    pickle_free(p);
    return 0;
}
