/* fuzz_torch.c - PyTorch's formats. A zip and a file of before 1.6 are taken as they are; any other pickle is
 * put into a zip as its data.pkl, beside a few storages: a zip's checksums would keep most changed pickles
 * from being read at all. */
#include "../../nn/npz.h"
#include "checkpoint.h"

enum { MOST = 1 << 16, STORAGE = 256, STORAGES = 4 };

/* One stored member; returns the bytes written. The reader's libzip wants right checksums. */
static size_t put(uint8_t *out, uint32_t signature, const char *name, const uint8_t *data, uint32_t size,
                  uint32_t at) {
    uint32_t crc = ~0u;
    for (uint32_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1u ? 0xedb88320u : 0u);
    }
    const uint32_t fields[] = {signature, 20, 0, 0x21u << 16, ~crc, size, size, (uint32_t)strlen(name)};
    uint8_t *p = out;
    bool central = signature == 0x02014b50u;
    memcpy(p, &fields[0], 4), p += 4;
    if (central) memcpy(p, &fields[1], 2), p += 2; /* made by */
    memcpy(p, &fields[1], 4), p += 4;              /* needed, flags */
    memcpy(p, &fields[2], 4), p += 4;              /* method, time */
    *p++ = 0x21, *p++ = 0;                         /* date */
    memcpy(p, &fields[4], 12), p += 12;
    memcpy(p, &fields[7], 4), p += 4;
    if (central) {
        memset(p, 0, 10), p += 10;
        memcpy(p, &at, 4), p += 4;
    }
    memcpy(p, name, strlen(name)), p += strlen(name);
    if (!central) memcpy(p, data, size), p += size;
    return (size_t)(p - out);
}

/* The pickle and its storages as a zip. */
static size_t wrap(uint8_t *zip, const uint8_t *pickle, size_t size) {
    static const uint8_t storage[STORAGE];
    char names[STORAGES + 1][16] = {"a/data.pkl"};
    uint32_t at[STORAGES + 1], used = 0, directory;
    for (int i = 0; i <= STORAGES; i++) {
        if (i) snprintf(names[i], sizeof names[i], "a/data/%d", i - 1);
        at[i] = used;
        used += (uint32_t)put(zip + used, 0x04034b50u, names[i], i ? storage : pickle,
                              i ? STORAGE : (uint32_t)size, 0);
    }
    directory = used;
    for (int i = 0; i <= STORAGES; i++)
        used += (uint32_t)put(zip + used, 0x02014b50u, names[i], i ? storage : pickle,
                              i ? STORAGE : (uint32_t)size, at[i]);
    uint32_t end[] = {0x06054b50u, 0, (STORAGES + 1) << 16 | (STORAGES + 1), used - directory, directory};
    memcpy(zip + used, end, sizeof end);
    memset(zip + used + sizeof end, 0, 2);
    return used + sizeof end + 2;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t zip[MOST + 4096];
    bool legacy = size > 4 && memcmp(data, "\x80\2\x8a\n", 4) == 0;
    bool as_is = legacy || size < 2 || size > MOST || memcmp(data, "PK", 2) == 0 || data[0] != 0x80;
    if (as_is)
        fuzz_checkpoint(data, size);
    else
        fuzz_checkpoint(zip, wrap(zip, data, size));
    return 0;
}
