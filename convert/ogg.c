/* ogg.c - gives an Ogg file a fixed stream number.
 *
 * libsndfile numbers a stream by chance, so equal audio would be different bytes. A page (RFC 3533, section
 * 6) is
 *
 *     0 "OggS"   4 version, flags   6 granule position   14 serial number   18 page number   22 checksum
 *     26 count of segments   27 their lengths   27 + count: the data
 *
 * and its checksum is a CRC-32 of polynomial 0x04c11db7 over the page with the checksum taken as 0.
 * Invariant: nothing but the serial numbers and the checksums changes. */
#include "convert.h"

#include <string.h>
#include <unistd.h>

enum { HEADER = 27, MOST_PAGE = HEADER + 255 + 255 * 255 };

static uint32_t checksum(const unsigned char *page, size_t size) {
    uint32_t crc = 0;
    for (size_t i = 0; i < size; i++) {
        crc ^= (uint32_t)page[i] << 24;
        for (int bit = 0; bit < 8; bit++) crc = crc << 1 ^ (crc >> 31 ? 0x04c11db7u : 0);
    }
    return crc;
}

static void put_little_endian(unsigned char *at, uint32_t value) {
    for (int i = 0; i < 4; i++) at[i] = (unsigned char)(value >> 8 * i);
}

/* The size of the page that begins at page[0], of which `have` bytes are there; 0 where that is no page. */
static size_t page_size(const unsigned char *page, size_t have) {
    if (have < HEADER || memcmp(page, "OggS", 4) != 0 || have < HEADER + (size_t)page[26]) return 0;
    size_t size = HEADER + (size_t)page[26];
    for (int i = 0; i < page[26]; i++) size += page[HEADER + i];
    return size <= have ? size : 0;
}

rvc_status convert_ogg_renumber(int fd, rvc_error *e) {
    unsigned char page[MOST_PAGE];
    off_t at = 0;
    for (;;) {
        ssize_t got = pread(fd, page, sizeof page, at);
        if (got == 0) return RVC_OK;
        size_t size = got < 0 ? 0 : page_size(page, (size_t)got);
        if (size == 0)
            return convert_fail(e, RVC_ERROR_FILE, "cannot write the output: no Ogg page at byte %lld",
                                (long long)at);
        put_little_endian(page + 14, 1);
        put_little_endian(page + 22, 0);
        put_little_endian(page + 22, checksum(page, size));
        if (pwrite(fd, page, HEADER, at) != HEADER)
            return convert_fail(e, RVC_ERROR_FILE, "cannot write the output");
        at += (off_t)size;
    }
}
