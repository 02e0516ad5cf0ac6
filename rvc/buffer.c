/* buffer.c - see buffer.h.
 *
 * The file's blocks are reserved before they are mapped, so that a full disk is an allocation that fails and
 * not a signal in the middle of the work. */
#include "buffer.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MEGABYTE = 1 << 20, STEP = 64 * MEGABYTE /* by which files grow */ };

size_t rvc_buffer_plain = 64 * (size_t)MEGABYTE, rvc_buffer_resident = 8 * (size_t)MEGABYTE;

static int open_file(void) {
    const char *folder = getenv("TMPDIR");
    char path[4096];
    if (!folder || !*folder) folder = "/tmp";
    if (snprintf(path, sizeof path, "%s/rvc-XXXXXX", folder) >= (int)sizeof path) return -1;
    int file = mkostemp(path, O_CLOEXEC);
    if (file >= 0) unlink(path);
    return file;
}

/* b's file, made or grown to `bytes` and mapped; false: b is as it was. */
static bool map(rvc_buffer *b, size_t bytes) {
    int file = b->pages ? b->file : open_file();
    if (file < 0) return false;
    void *pages = MAP_FAILED;
    if (posix_fallocate(file, 0, (off_t)bytes) == 0)
        pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (pages == MAP_FAILED) {
        if (!b->pages) close(file);
        return false;
    }
    if (b->pages) {
        munmap(b->pages, b->page_bytes);
    } else {
        if (b->at) memcpy(pages, b->at, b->count * sizeof *b->at);
        free(b->at);
    }
    b->at = b->pages = pages;
    b->page_bytes = bytes;
    b->file = file;
    b->seen = 0;
    b->capacity = bytes / sizeof *b->at;
    return true;
}

/* The same in plain memory. */
static bool allocate(rvc_buffer *b, size_t capacity) {
    float *at = b->pages ? malloc(capacity * sizeof *at) : realloc(b->at, capacity * sizeof *at);
    if (!at) return false;
    if (b->pages) { /* the disk is full, there may be memory */
        memcpy(at, b->at, b->count * sizeof *at);
        munmap(b->pages, b->page_bytes);
        close(b->file);
        b->pages = NULL;
    }
    b->at = at;
    b->capacity = capacity;
    return true;
}

nn_code rvc_buffer_grow(rvc_buffer *b, size_t count, nn_error *e) {
    bool good = count <= SIZE_MAX / 4 / sizeof *b->at;
    if (good && count > b->capacity) {
        size_t bytes = count * sizeof *b->at, steps = (bytes + STEP - 1) / STEP * STEP;
        bool small = bytes <= rvc_buffer_plain && !b->pages;
        good = (!small && map(b, steps)) || allocate(b, b->capacity ? count + count / 2 : count);
    }
    if (!good) return nn_fail_memory(e, "the signal");
    b->count = count;
    return NN_OK;
}

void rvc_buffer_free(rvc_buffer *b) {
    if (b->pages) {
        munmap(b->pages, b->page_bytes);
        close(b->file);
    } else {
        free(b->at);
    }
    *b = (rvc_buffer){0};
}

void rvc_buffer_keep(rvc_buffer *kept, rvc_buffer *b) {
    if (!b->pages && b->capacity > kept->capacity) {
        const rvc_buffer smaller = *kept;
        *kept = *b;
        *b = smaller;
    }
    rvc_buffer_free(b);
}

rvc_buffer rvc_buffer_again(rvc_buffer *kept) {
    const rvc_buffer b = {.at = kept->at, .capacity = kept->capacity};
    *kept = (rvc_buffer){0};
    return b;
}

float *rvc_buffer_view(rvc_buffer *b, size_t from, size_t count) {
    if (b->pages) {
        size_t bytes = count * sizeof *b->at;
        b->seen += bytes;
        if (b->seen > rvc_buffer_resident) {
            madvise(b->pages, b->page_bytes,
                    MADV_DONTNEED); /* of a shared mapping: the file keeps what was written */
            b->seen = bytes;
        }
    }
    return b->at + from;
}

rvc_buffer rvc_buffer_part(const rvc_buffer *b, size_t from, size_t count) {
    rvc_buffer part = *b;
    part.at += from;
    part.count = count;
    part.capacity = 0;
    return part;
}
