/* check.h - what the test programs share: cmocka with the headers it needs, error measures, and paths.
 *
 * Measures are quality measures (dB, largest difference), so that a test states how close it must be and
 * prints how close it was. Data files come from $RVC_SHARED (default ../shared); a test without its data
 * skips, never passes. */
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* 10 log10(sum want^2 / sum (got - want)^2): 999 where all are equal, -999 where any value of `got` is not
 * finite. */
static inline double check_snr_db(const float *got, const float *want, size_t n) {
    double signal = 0, error = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(got[i])) return -999;
        double d = (double)got[i] - (double)want[i];
        signal += (double)want[i] * (double)want[i];
        error += d * d;
    }
    if (error <= 0) return 999;
    return signal > 0 ? 10 * log10(signal / error) : -999;
}

/* Largest |got - want|; infinity where a value of `got` is not finite. */
static inline double check_max_error(const float *got, const float *want, size_t n) {
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(got[i])) return INFINITY;
        worst = fmax(worst, fabs((double)got[i] - (double)want[i]));
    }
    return worst;
}

/* The path of a shared data file, "reference/stages_v2_40k.npz" say, or NULL where it is absent (it says so;
 * the caller calls skip()). The last 8 results stay valid. */
static inline const char *check_shared(const char *relative) {
    static char paths[8][1024];
    static unsigned next;
    char *path = paths[next++ % 8];
    const char *root = getenv("RVC_SHARED");
    snprintf(path, sizeof paths[0], "%s/%s", root && *root ? root : "../shared", relative);
    if (access(path, R_OK) == 0) return path;
    print_message("skipped: no %s (set RVC_SHARED)\n", path);
    return NULL;
}

/* A path for a file `name` in the scratch folder $RVC_TEST_TMP (default build/tmp, made if missing); caller
 * frees. */
static inline char *check_tmp(const char *name) {
    const char *root = getenv("RVC_TEST_TMP");
    char folder[1024];
    snprintf(folder, sizeof folder, "%s", root && *root ? root : "build/tmp");
    for (char *p = folder + 1;; p++) { /* mkdir -p: every prefix that ends at a slash, then the whole */
        char c = *p;
        if (c != '/' && c != '\0') continue;
        *p = '\0';
        if (mkdir(folder, 0777) != 0 && errno != EEXIST) fail_msg("cannot make the folder %s", folder);
        *p = c;
        if (c == '\0') break;
    }
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = malloc(size);
    assert_non_null(path);
    snprintf(path, size, "%s/%s", folder, name);
    return path;
}

/* Reproducible test data: splitmix64 (Steele et al. 2014), and uniform floats in [-1, 1). */
static inline uint64_t check_random(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline float check_random_float(uint64_t *state) {
    return (float)((double)(check_random(state) >> 40) * 0x1p-23 - 1.0);
}

#endif
