/* fuzz.h - what the fuzz targets share: the bytes of a try as a file that lives in memory.
 *
 * A target is a program of its own with LLVMFuzzerTestOneInput (libFuzzer, clang). It must come back from every input: no
 * crash, no leak, nothing that takes long or allocates more than the input bears out. What the reader says is not looked at. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A path at which the bytes can be read, until the next call. */
static inline const char *fuzz_file(const void *data, size_t size) {
    static char path[64];
    static int fd = -1;
    if (fd < 0) {
        fd = memfd_create("fuzz", 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    if (fd < 0 || ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != (ssize_t)size) abort();
    return path;
}

#endif
