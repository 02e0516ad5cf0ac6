/* make_seeds.c - small valid files of every format, for the fuzz targets to start from.
 *
 *   make_seeds FOLDER [FILE...]    writes FOLDER/TARGET/NAME; each FILE, a recorded checkpoint, index or
 * recording of others, is copied to its target's folder, and the pickle in a zip apart as well */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zip.h>

#include "../../nn/npz.h"

enum { MOST = 1 << 16 }; /* bytes of a seed: larger ones slow every try that comes of them */

static const char *folder;

static FILE *create(const char *target, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, target);
    if (mkdir(path, 0777) != 0 && errno != EEXIST) return NULL;
    snprintf(path, sizeof path, "%s/%s/%s", folder, target, name);
    return fopen(path, "wb");
}

static bool write_seed(const char *target, const char *name, const void *data, size_t size) {
    FILE *f = create(target, name);
    bool fine = f && fwrite(data, 1, size, f) == size;
    if (f) fine = fclose(f) == 0 && fine;
    if (!fine) fprintf(stderr, "make_seeds: cannot write %s/%s/%s\n", folder, target, name);
    return fine;
}

/* ---- made here ---- */

static bool make_npz(void) {
    char path[4096];
    npz_writer *w;
    float x[12] = {1, 2, 3};
    FILE *f = create("npz", "small.npz");
    if (f) fclose(f);
    snprintf(path, sizeof path, "%s/npz/small.npz", folder);
    if (!f || npz_create(&w, path, NULL)) return false;
    bool fine =
        !npz_write(w, "enc_p.emb_phone.weight", NPZ_F32, 2, (int64_t[]){3, 4}, x, NULL) &&
        !npz_write(w, "dec.ups.0.weight", NPZ_F16, 3, (int64_t[]){1, 2, 3}, x, NULL) &&
        !npz_write(w, "n", NPZ_I64, 0, NULL, x, NULL) &&
        !npz_write_text(w, "config.json", "{\"config\": [1, [2]], \"f0\": 1, \"version\": \"v2\"}", NULL);
    if (fine) return !npz_finish(w, NULL);
    npz_abandon(w);
    return false;
}

static bool make_safetensors(void) {
    static const char json[] =
        "{\"__metadata__\":{\"config\":\"[1,2]\"},\"masked_spec_embed\":{\"dtype\":\"F32\",\"shape\":"
        "[2,1],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[8,10]}}";
    unsigned char file[8 + sizeof json - 1 + 10] = {sizeof json - 1};
    memcpy(file + 8, json, sizeof json - 1);
    return write_seed("safetensors", "small.safetensors", file, sizeof file);
}

/* {"weight": OrderedDict of one float tensor on storage "0", "config": [1], "f0": 1}, protocol 2. */
static bool make_pickle(void) {
    static const char text[] =
        "\x80\2}q\0(X\6\0\0\0weightq\1ccollections\nOrderedDict\nq\2)Rq\3X\1\0\0\0aq\4ctorch._utils\n"
        "_rebuild_tensor_v2\nq\5((X\7\0\0\0storageq\6ctorch\nFloatStorage\nq\7X\1\0\0\0000q\10X\3\0\0\0"
        "cpuq\11K\6tq\12QK\0K\2K\3\206q\13K\3K\1\206q\14\211h\2)Rq\15tq\16Rq\17sX\6\0\0\0configq\20]q"
        "\21K\1aX\2\0\0\0f0q\22K\1u.";
    return write_seed("pickle", "small.pkl", text, sizeof text - 1) &&
           write_seed("torch", "small.pkl", text, sizeof text - 1);
}

typedef struct bytes {
    unsigned char at[4096];
    size_t size;
} bytes;

static void add(bytes *b, const void *data, size_t n) {
    memcpy(b->at + b->size, data, n);
    b->size += n;
}
static void add_number(bytes *b, size_t n, uint64_t v) {
    add(b, &v, n);
}

static void add_index_header(bytes *b, const char *fourcc, uint64_t width, uint64_t vectors) {
    add(b, fourcc, 4);
    add_number(b, 4, width);
    add_number(b, 8, vectors);
    add_number(b, 8, 1 << 20), add_number(b, 8, 1 << 20);
    add_number(b, 1, 1);
    add_number(b, 4, 1);
}

static bool make_indexes(void) {
    static const float rows[3][2] = {{0, 0}, {1, 0}, {5, 5}};
    bytes flat = {.size = 0}, ivf = {.size = 0}, sparse;
    add_index_header(&flat, "IxF2", 2, 3);
    add_number(&flat, 8, 6);
    add(&flat, rows, sizeof rows);
    add_index_header(&ivf, "IwFl", 2, 3);
    add_number(&ivf, 8, 2), add_number(&ivf, 8, 1); /* lists, nprobe */
    add_index_header(&ivf, "IxF2", 2, 2);
    add_number(&ivf, 8, 4);
    add(&ivf, rows, 16);
    add_number(&ivf, 1, 0), add_number(&ivf, 8, 0); /* no direct map */
    add(&ivf, "ilar", 4);
    add_number(&ivf, 8, 2), add_number(&ivf, 8, 8);
    sparse = ivf;
    add(&ivf, "full", 4);
    add_number(&ivf, 8, 2), add_number(&ivf, 8, 1), add_number(&ivf, 8, 2);
    for (uint64_t id = 0; id < 1; id++) add(&ivf, rows[id], 8), add_number(&ivf, 8, id);
    add(&ivf, rows[1], 16), add_number(&ivf, 8, 1), add_number(&ivf, 8, 2);
    add(&sparse, "sprs", 4);
    add_number(&sparse, 8, 2), add_number(&sparse, 8, 1), add_number(&sparse, 8, 3);
    add(&sparse, rows, sizeof rows);
    for (uint64_t id = 0; id < 3; id++) add_number(&sparse, 8, id);
    return write_seed("index", "flat", flat.at, flat.size) && write_seed("index", "ivf", ivf.at, ivf.size) &&
           write_seed("index", "sparse", sparse.at, sparse.size);
}

static bool make_wav(void) {
    bytes b = {.size = 0};
    add(&b, "RIFF", 4), add_number(&b, 4, 36 + 32), add(&b, "WAVEfmt ", 8);
    add_number(&b, 4, 16), add_number(&b, 2, 1), add_number(&b, 2, 1);
    add_number(&b, 4, 16000), add_number(&b, 4, 32000), add_number(&b, 2, 2), add_number(&b, 2, 16);
    add(&b, "data", 4), add_number(&b, 4, 32);
    for (uint64_t i = 0; i < 16; i++) add_number(&b, 2, i * 1000);
    return write_seed("wav", "small.wav", b.at, b.size);
}

/* ---- from others ---- */

/* The pickle inside a zip, apart. */
static bool take_pickle(const char *path, const char *name) {
    zip_t *z = zip_open(path, ZIP_RDONLY, NULL);
    bool fine = true;
    for (zip_int64_t i = 0; z && i < zip_get_num_entries(z, 0); i++) {
        const char *member = zip_get_name(z, (zip_uint64_t)i, 0);
        size_t n = member ? strlen(member) : 0;
        if (n < 9 || strcmp(member + n - 9, "/data.pkl") != 0) continue;
        static char data[MOST];
        zip_file_t *f = zip_fopen_index(z, (zip_uint64_t)i, 0);
        zip_int64_t got = f ? zip_fread(f, data, sizeof data) : 0;
        if (f) zip_fclose(f);
        if (got <= 0 || got == MOST) continue;
        char file[300];
        snprintf(file, sizeof file, "%.255s.pkl", name);
        fine = write_seed("pickle", file, data, (size_t)got) &&
               write_seed("torch", file, data, (size_t)got) && fine;
    }
    if (z) zip_discard(z);
    return fine;
}

static bool take(const char *path) {
    static const char *const targets[][2] = {
        {".pth", "torch"}, {".pt", "torch"}, {".index", "index"}, {".wav", "wav"}};
    static char data[MOST];
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(data, 1, sizeof data, f) : 0;
    bool fine = true;
    if (f) fclose(f);
    for (size_t i = 0; dot && n && n < MOST && i < sizeof targets / sizeof *targets; i++)
        if (strcmp(dot, targets[i][0]) == 0) fine = write_seed(targets[i][1], name, data, n) && fine;
    return take_pickle(path, name) && fine;
}

int main(int argc, char **argv) {
    if (argc < 2) return fputs("usage: make_seeds FOLDER [FILE...]\n", stderr), 2;
    folder = argv[1];
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return fprintf(stderr, "make_seeds: cannot make %s\n", folder), 1;
    bool fine = make_npz() && make_safetensors() && make_pickle() && make_indexes() && make_wav();
    for (int i = 2; i < argc; i++) fine = take(argv[i]) && fine;
    return !fine;
}
