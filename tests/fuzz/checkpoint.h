/* checkpoint.h - a try as a model file, for the targets of the formats: opened, recognised, judged, and every tensor read. */
#ifndef TESTS_FUZZ_CHECKPOINT_H
#define TESTS_FUZZ_CHECKPOINT_H

#include "../../rvc/checkpoint.h"
#include "fuzz.h"

static inline void fuzz_checkpoint(const void *data, size_t size) {
    nn_error e = {0};
    rvc_checkpoint *c;
    const char *path = fuzz_file(data, size);
    if (rvc_checkpoint_open(&c, path, &e)) {
        if (e.code == NN_OK || e.text[0] == '\0' || strchr(e.text, '\n')) abort(); /* every refusal has its line */
        return;
    }
    rvc_checkpoint_check(c, RVC_KIND_VOICE, NULL);
    for (size_t i = 0; i < rvc_checkpoint_count(c); i++) {
        const rvc_tensor *t = rvc_checkpoint_at(c, i);
        if (t->stored->bytes > 1 << 20) continue; /* views may repeat an element: allowed, and slow */
        void *x = malloc((size_t)t->stored->bytes + 1);
        if (x) rvc_checkpoint_read(c, t, x, NULL);
        free(x);
    }
    rvc_checkpoint_close(c);
}

#endif
