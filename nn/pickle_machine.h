/* pickle_machine.h - stack, memo and values of the pickle reader; pickle.c's opcodes work on them. Functions that return
 * false or NULL have recorded why: the first trouble ends the reading. */
#ifndef NN_PICKLE_MACHINE_H
#define NN_PICKLE_MACHINE_H

#include "pickle.h"

typedef struct pickle_block {
    struct pickle_block *next;
    size_t size, used;         /* bytes of data */
    max_align_t data[];
} pickle_block;

struct pickle {
    pickle_block *blocks;
    size_t spent;              /* sum of their sizes */
    const pickle_value *root;
    pickle_value *persistents; /* a list */
};

typedef struct pickle_machine {
    pickle *p;
    const unsigned char *at, *end;  /* the bytes still to be read */
    pickle_value **stack;           /* [depth]; NULL: a mark */
    size_t depth, stack_room;
    pickle_value **memo;            /* [memo_room]; NULL: not set */
    size_t memo_room, memo_count;
    const char *problem;            /* the first one: "its pickle ..." */
    const char *attack;             /* the forbidden name, where that is the problem */
    bool done;
} pickle_machine;

extern const char pickle_ends_early[], pickle_no_memory[];      /* problems that are told apart by address */
bool pickle_trouble(pickle_machine *m, const char *problem);    /* false */

pickle_value *pickle_new_value(pickle_machine *m, pickle_kind kind);
/* A string, bytes or global with room for n bytes of text, which the caller fills. */
pickle_value *pickle_new_text(pickle_machine *m, pickle_kind kind, size_t n, char **text);
pickle_value *pickle_new_items(pickle_machine *m, pickle_kind kind, pickle_value *const *item, size_t n);
bool pickle_extend(pickle_machine *m, pickle_value *v, pickle_value *const *item, size_t n);

bool pickle_push(pickle_machine *m, pickle_value *v);           /* NULL: false, so that calls nest */
bool pickle_push_mark(pickle_machine *m);
pickle_value *pickle_top(pickle_machine *m);                    /* NULL also where a mark is on top */
pickle_value *pickle_pop(pickle_machine *m);
/* Takes the n values above the last mark off the stack, and the mark. They stay readable until the next push. */
bool pickle_pop_mark(pickle_machine *m, pickle_value ***item, size_t *n);
bool pickle_memo_set(pickle_machine *m, uint64_t i);            /* to the top of the stack */
bool pickle_memo_get(pickle_machine *m, uint64_t i);            /* pushes */

/* "module.name"; trouble where that is what only an attack names. */
pickle_value *pickle_new_global(pickle_machine *m, const char *module, size_t module_length, const char *name,
                                size_t name_length);
/* Pushes callable(*args): one of Python's containers, or an object that stands for the call. */
bool pickle_push_call(pickle_machine *m, pickle_value *callable, pickle_value *args);

#endif
