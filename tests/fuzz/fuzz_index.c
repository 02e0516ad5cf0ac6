/* fuzz_index.c - FAISS index files, and a search in what was read. */
#include "../../rvc/index.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static float query[1 << 16];
    rvc_index *x;
    if (rvc_index_open(&x, fuzz_file(data, size), NULL)) return 0;
    float score[RVC_RETRIEVAL_K];
    int64_t id[RVC_RETRIEVAL_K];
    if (rvc_index_width(x) <= 1 << 16) {
        rvc_index_search(x, query, 1, RVC_RETRIEVAL_K, score, id, NULL, 1, NULL);
        rvc_index_check(x, rvc_index_width(x), NULL);
    }
    rvc_index_close(x);
    return 0;
}
