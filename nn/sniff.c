/* sniff.c - what a file is that is not what it should be, said from its first bytes.
 *
 * People hand over what a download left them: a web page, a Git LFS pointer, half a file, the index in place
 * of the model. Each gets its own line with what to do next. The first row of the table that matches is said.
 */
#include <string.h>

#include "archive_format.h"

#define MAGIC(bytes) (bytes), sizeof(bytes) - 1

static const struct magic {
    size_t offset; /* after leading blanks where 0 */
    const char *bytes;
    size_t length;
    const char *meaning;
} magics[] = {
    {0, MAGIC("PK\3\4"), "it is a zip archive that is cut short or damaged; get it again"},
    {0, MAGIC("PK"), "it is an empty or damaged zip archive; get it again"},
    {0, MAGIC("<"), "it is a web page, so the download went wrong; get it again"},
    {0, MAGIC("version https://git-lfs"),
     "it is a Git LFS pointer, not the data; run 'git lfs pull' or download the file itself"},
    {257, MAGIC("ustar"),
     "it is a tar archive (PyTorch wrote such checkpoints before 0.1.2); load and save it with a newer "
     "PyTorch"},
    {0, MAGIC("\x80"), "it is a Python pickle, but not a PyTorch checkpoint"},
    {0, MAGIC("\x93NUMPY"), "it is a single NumPy array (.npy)"},
    {0, MAGIC("Iw"), "it is a FAISS index; give it with --index"},
    {0, MAGIC("Ix"), "it is a FAISS index; give it with --index"},
    {0, MAGIC("RIFF"), "it is an audio file"},
    {0, MAGIC("fLaC"), "it is an audio file"},
    {0, MAGIC("OggS"), "it is an audio file"},
    {0, MAGIC("ID3"), "it is an audio file"},
    {0, MAGIC("\x1f\x8b"), "it is packed with gzip; unpack it first"},
    {0, MAGIC("7z\xbc\xaf\x27\x1c"), "it is a 7z archive; unpack it first"},
    {0, MAGIC("Rar!"), "it is a RAR archive; unpack it first"},
    {0, MAGIC("GGUF"), "it is a GGUF file, which holds other kinds of model"},
    {0, MAGIC("\x89HDF"), "it is an HDF5 file (Keras); convert it to safetensors first"},
};

static bool is_text(const unsigned char *head, size_t n) {
    for (size_t i = 0; i < n; i++)
        if ((head[i] < 32 && head[i] != '\n' && head[i] != '\r' && head[i] != '\t') || head[i] == 127)
            return false;
    return true;
}

nn_code nn_sniff_fail(const char *path, const void *head, size_t n, const char *wanted, const char *otherwise,
                      nn_error *e) {
    const char *bytes = head;
    size_t blank = 0;
    while (blank < n && (bytes[blank] == ' ' || bytes[blank] == '\n' || bytes[blank] == '\r')) blank++;
    if (is_text(head, n)) otherwise = "it is a text file; is it the right one?";
    for (size_t i = sizeof magics / sizeof magics[0]; i-- > 0;) {
        size_t at = magics[i].offset ? magics[i].offset : blank;
        if (n >= at + magics[i].length && memcmp(bytes + at, magics[i].bytes, magics[i].length) == 0)
            otherwise = magics[i].meaning;
    }
    if (n == 0) otherwise = "it is empty; get it again";
    return nn_fail(e, NN_ERROR_FORMAT, "%s is not %s: %s", path, wanted, otherwise);
}
