/* pickle_names.c - see pickle_names.h.
 *
 * Nothing in a pickle is run here, so the table protects nobody from this program: it tells people that the
 * file in their hands would have run something elsewhere, which a silently skipped object would not. */
#include "pickle_names.h"

#include <stdint.h>
#include <string.h>

/* Modules whose business is processes, files, code and the network, under names that no project gives its
 * own. */
static const char *const attacks[] = {
    "os",       "posix",     "nt",      "subprocess", "_posixsubprocess",
    "sys",      "shutil",    "socket",  "_socket",    "runpy",
    "pty",      "importlib", "imp",     "pkgutil",    "zipimport",
    "ctypes",   "_ctypes",   "cffi",    "codeop",     "pickle",
    "_pickle",  "cPickle",   "marshal", "webbrowser", "popen2",
    "pdb",      "bdb",       "timeit",  "cProfile",   "urllib",
    "urllib2",  "http",      "httplib", "ftplib",     "smtplib",
    "requests", "aiohttp",   "winreg",  "_winreg",    "atexit",
};

/* What runs code or touches files in Python's own module; the rest of it (getattr, set, complex, ...) is in
 * pickles of plain data, too. */
static const char *const builtins[] = {
    "eval",   "exec", "execfile", "compile", "open",      "file",       "__import__",
    "apply",  "map",  "input",    "reload",  "raw_input", "breakpoint", "globals",
    "locals", "vars", "setattr",  "exit",    "quit",      "delattr",    "__build_class__",
};

static bool is_one_of(const char *word, size_t n, const char *const *list, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (strlen(list[i]) == n && memcmp(list[i], word, n) == 0) return true;
    return false;
}
#define IS_ONE_OF(word, n, list) is_one_of((word), (n), (list), sizeof(list) / sizeof(list)[0])

/* The first part decides; later ones too where they lead to Python's own modules ("torch.os.system"). */
bool pickle_name_is_attack(const char *global) {
    const char *dot = strchr(global, '.');
    size_t first = dot ? (size_t)(dot - global) : strlen(global);
    if (IS_ONE_OF(global, first, attacks)) return true;
    static const char *const python[] = {"builtins", "__builtin__", "__builtins__"};
    static const char *const system[] = {"os",          "sys",          "posix",      "nt",
                                         "subprocess",  "shutil",       "socket",     "builtins",
                                         "__builtin__", "__builtins__", "__import__", "__globals__"};
    if (dot && IS_ONE_OF(global, first, python) && IS_ONE_OF(dot + 1, strlen(dot + 1), builtins)) return true;
    while (dot) {
        const char *part = dot + 1;
        dot = strchr(part, '.');
        if (dot && IS_ONE_OF(part, (size_t)(dot - part), system)) return true;
    }
    return false;
}

/* ---- escapes ------------------------------------------------------------------------------------------- */

static int digit_of(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : 99;
}

/* The number of up to `most` digits, at least `least`, in `base` at *at, which moves on; -1: too few. */
static long take_digits(const char **at, const char *end, int base, int least, int most) {
    long x = 0;
    int n = 0;
    for (; n < most && *at < end && digit_of(**at) < base; n++, ++*at) x = x * base + digit_of(**at);
    return n < least ? -1 : x;
}

static char *put_utf8(char *dst, long c) {
    int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const unsigned char lead[4] = {0, 0xc0, 0xe0, 0xf0};
    *dst++ = (char)(lead[more] | c >> 6 * more);
    while (more-- > 0) *dst++ = (char)(0x80 | (c >> 6 * more & 0x3f));
    return dst;
}

/* One escape of a string literal, after its backslash, to *dst; false: broken. */
static bool literal_escape(char **dst, const char **at, const char *end) {
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    if (*at == end) return false;
    const char *simple = **at ? strchr(from, **at) : NULL;
    long x;
    if (simple) {
        x = (unsigned char)to[simple - from];
        ++*at;
    } else if (**at == 'x') {
        ++*at;
        x = take_digits(at, end, 16, 2, 2);
    } else {
        x = take_digits(at, end, 8, 1, 3);
    }
    if (x < 0) return false;
    *(*dst)++ = (char)x;
    return true;
}

size_t pickle_unescape(char *dst, const char *src, size_t n, bool unicode) {
    const char *end = src + n;
    char *first = dst;
    while (src < end) {
        char c = *src++;
        bool escape = c == '\\' && (!unicode || (src < end && (*src == 'u' || *src == 'U')));
        if (!escape && unicode) {
            dst = put_utf8(dst, (unsigned char)c);
        } else if (!escape) {
            *dst++ = c;
        } else if (unicode) {
            int digits = *src++ == 'u' ? 4 : 8;
            long x = take_digits(&src, end, 16, digits, digits);
            if (x < 0 || x > 0x10ffff) return SIZE_MAX;
            dst = put_utf8(dst, x);
        } else if (!literal_escape(&dst, &src, end)) {
            return SIZE_MAX;
        }
    }
    return (size_t)(dst - first);
}
