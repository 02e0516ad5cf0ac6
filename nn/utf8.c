/* utf8.c - see utf8.h. The table is the one of RFC 3629 (and of Unicode, table 3-7): which second bytes a
 * first byte allows; all bytes after the second are 80..BF. */
#include "utf8.h"

static const struct lead {
    unsigned char first, last; /* range of the first byte */
    unsigned char low, high;   /* range of the second */
    unsigned char length;
} leads[] = {
    {0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
    {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
    {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
};

size_t nn_utf8_length(const char *text, size_t n) {
    const unsigned char *c = (const unsigned char *)text;
    for (size_t i = 0; n > 0 && i < sizeof leads / sizeof leads[0]; i++) {
        const struct lead *l = &leads[i];
        if (c[0] < l->first || c[0] > l->last) continue;
        bool ok = n >= l->length && (l->length == 1 || (c[1] >= l->low && c[1] <= l->high));
        for (size_t k = 2; ok && k < l->length; k++) ok = c[k] >= 0x80 && c[k] <= 0xbf;
        return ok ? l->length : 0;
    }
    return 0;
}

bool nn_utf8_is_printable(const char *text, size_t n) {
    for (size_t i = 0; i < n;) {
        size_t length = nn_utf8_length(text + i, n - i);
        unsigned char c = (unsigned char)text[i];
        bool c1 = c == 0xc2 && length == 2 && (unsigned char)text[i + 1] < 0xa0; /* U+0080..009F */
        if (length == 0 || c < 32 || c == 127 || c1) return false;
        i += length;
    }
    return true;
}
