/* buffer.h - samples of a recording of any length, of which only a few megabytes need to be in memory.
 *
 * A short signal is plain memory. A long one is an unlinked temporary file in $TMPDIR (else /tmp), mapped; whoever works on
 * it asks for one view after another, and what was seen before is given back to the system, which keeps it in its page
 * cache or on the disk. Where no such file can be made it is plain memory all the same.
 *
 * Invariant: giving pages back changes no value. Any pointer into a buffer stays good until it grows or is freed; views only
 * say what is being worked on. */
#ifndef RVC_BUFFER_H
#define RVC_BUFFER_H

#include <stddef.h>
#include "../nn/error.h"

/* {0} is an empty buffer; {.at = x, .count = n} lends plain memory to what wants a buffer. */
typedef struct rvc_buffer {
    float *at;          /* [count] */
    size_t count;
    size_t capacity;    /* floats there is room for; 0: `at` belongs to somebody else */
    void *pages;        /* the mapping `at` lies in, or NULL for plain memory */
    size_t page_bytes;
    size_t seen;        /* bytes viewed since pages were last given back */
    int file;           /* of the mapping */
} rvc_buffer;

/* Bytes up to which a buffer is plain memory, and bytes of a mapped one that may be in memory. Changed by tests only. */
extern size_t rvc_buffer_plain, rvc_buffer_resident;

/* Room for `count` floats; those that were there stay, new ones may hold anything. Failing leaves the buffer as it was. */
nn_code rvc_buffer_grow(rvc_buffer *b, size_t count, nn_error *e);
void rvc_buffer_free(rvc_buffer *b);     /* {0} is fine, also twice; not for parts */

/* Instead of freeing b: *kept takes its memory over where that is plain and larger than its own. And an empty buffer that has
 * what was kept. */
void rvc_buffer_keep(rvc_buffer *kept, rvc_buffer *b);
rvc_buffer rvc_buffer_again(rvc_buffer *kept);

/* Floats from .. from+count-1 are worked on now; what was viewed earlier may leave memory. Returns at + from. */
float *rvc_buffer_view(rvc_buffer *b, size_t from, size_t count);

/* How many of `threads` threads may view b at a time: a mapped one is one thread's. */
static inline int rvc_buffer_threads(const rvc_buffer *b, int threads) { return b->pages ? 1 : threads; }

/* The same memory as a buffer of its own, which is not freed and ends with b. */
rvc_buffer rvc_buffer_part(const rvc_buffer *b, size_t from, size_t count);

#endif
