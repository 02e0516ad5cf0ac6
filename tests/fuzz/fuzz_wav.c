/* fuzz_wav.c - recordings, through libsndfile and what is done with its answers. */
#include "../check_audio.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    float *samples = NULL;
    size_t frames;
    int rate;
    rvc_error e = {0};
    if (!check_audio_read(fuzz_file(data, size), &samples, &frames, &rate, &e)) {
        for (size_t i = 0; i < frames; i++)
            if (samples[i] - samples[i] != 0) abort(); /* all are finite */
        if (rate < 1) abort();
    }
    free(samples);
    return 0;
}
