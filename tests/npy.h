/* npy.h - a plain .npy file as numbers, for tests only (the project's own reader, nn/npz.h, reads archives).
 *
 * Little-endian, C order, dtypes f4 f8 i2 i4 i8 u1 u2. Format: NEP 1 (numpy.lib.format). */
#ifndef TESTS_NPY_H
#define TESTS_NPY_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct npy {
    char dtype[4]; /* "f4", "i8": without the byte order */
    int rank;      /* 0 .. 4 */
    size_t shape[4];
    size_t count; /* elements */
    double *data; /* [count], exact for every dtype but large i8; owned, npy_free */
} npy;

static inline void npy_free(npy *a) {
    if (!a) return;
    free(a->data);
    free(a);
}

/* Reads {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } into a; 0 on success. */
static inline int npy_header(npy *a, const char *header) {
    const char *descr = strstr(header, "'descr':"), *shape = strstr(header, "'shape':");
    if (!descr || !shape || !strstr(header, "'fortran_order': False")) return -1;
    if (sscanf(descr, "'descr': '%*1[<|]%2[fiu1248]'", a->dtype) != 1) return -1;
    if (!(shape = strchr(shape, '('))) return -1;
    a->count = 1;
    for (shape++; *shape && *shape != ')';) {
        char *end;
        unsigned long long d = strtoull(shape, &end, 10);
        if (end == shape) {
            shape++; /* a comma or a space */
            continue;
        }
        if (a->rank == 4) return -1;
        a->shape[a->rank++] = (size_t)d;
        a->count *= (size_t)d;
        shape = end;
    }
    return 0;
}

static inline double npy_value(const char *dtype, const unsigned char *p) {
    float f4;
    double f8;
    int16_t i2;
    uint16_t u2;
    int32_t i4;
    int64_t i8;
    switch (dtype[0] * 16 + (dtype[1] - '0')) {
    case 'f' * 16 + 4:
        memcpy(&f4, p, 4);
        return (double)f4;
    case 'f' * 16 + 8:
        memcpy(&f8, p, 8);
        return f8;
    case 'i' * 16 + 2:
        memcpy(&i2, p, 2);
        return i2;
    case 'u' * 16 + 2:
        memcpy(&u2, p, 2);
        return u2;
    case 'i' * 16 + 4:
        memcpy(&i4, p, 4);
        return i4;
    case 'i' * 16 + 8:
        memcpy(&i8, p, 8);
        return (double)i8;
    default:
        return *p;
    }
}

/* The array in `path`, or NULL where it cannot be read. */
static inline npy *npy_read(const char *path) {
    FILE *f = fopen(path, "rb");
    npy *a = calloc(1, sizeof *a);
    unsigned char head[12], *raw = NULL;
    char *header = NULL;
    int ok = 0;
    if (!f || !a || fread(head, 1, 10, f) != 10 || memcmp(head, "\x93NUMPY", 6) != 0) goto done;
    size_t length = head[8] + 256u * head[9];
    if (head[6] > 1) { /* versions 2 and 3 have a length of four bytes */
        if (fread(head + 10, 1, 2, f) != 2) goto done;
        length += 65536u * head[10] + 16777216u * head[11];
    }
    if (!(header = calloc(1, length + 1)) || fread(header, 1, length, f) != length) goto done;
    if (npy_header(a, header) != 0) goto done;
    size_t size = (size_t)(a->dtype[1] - '0');
    raw = malloc(a->count * size + 1);
    a->data = malloc(a->count * sizeof(double) + 1);
    if (!raw || !a->data || fread(raw, size, a->count, f) != a->count) goto done;
    for (size_t i = 0; i < a->count; i++) a->data[i] = npy_value(a->dtype, raw + i * size);
    ok = 1;
done:
    if (f) fclose(f);
    free(raw);
    free(header);
    if (ok) return a;
    npy_free(a);
    return NULL;
}

/* The same as float32 [*count], or NULL; caller frees. */
static inline float *npy_read_f32(const char *path, size_t *count) {
    npy *a = npy_read(path);
    float *x = a ? malloc(a->count * sizeof *x + 1) : NULL;
    if (x) {
        for (size_t i = 0; i < a->count; i++) x[i] = (float)a->data[i];
        *count = a->count;
    }
    npy_free(a);
    return x;
}

#endif
