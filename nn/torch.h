/* torch.h - what PyTorch's formats have in common: a pickle of the structure, and beside it storages, runs of elements
 * that tensors are views of.
 *
 *     element i of tensor t = storage[offset + sum over axes of i[axis] * stride[axis]]
 *
 * A format reads the pickle, has it collected, finds the storages' bytes and checks that they are as long as the pickle
 * says; torch_read then needs one function from it, to read a range of a storage. */
#ifndef NN_TORCH_H
#define NN_TORCH_H

#include "archive_format.h"
#include "names.h"
#include "pickle.h"

typedef struct torch_storage {
    char *key;              /* its name in the file; owned */
    npz_dtype dtype;
    uint64_t count;         /* elements, as the pickle says; count * size of dtype does not overflow */
    size_t user;            /* the first tensor that is a view of it; SIZE_MAX: none */
    uint64_t place, bytes;  /* where the format finds it: index of the zip's member, or offset in the file; its size */
    bool found;
} torch_storage;

typedef struct torch_view {
    size_t storage;
    uint64_t offset, span;  /* of the first element; elements from there up to and with the last */
    int64_t stride[NPZ_MAX_RANK];
    bool row_major;         /* the elements lie one after the other */
} torch_view;

/* Reads n bytes from byte `first` of a storage, all inside it. */
typedef nn_code torch_read_range(void *self, const torch_storage *s, uint64_t first, uint64_t n, void *dst, nn_error *e);

typedef struct torch_tensors {
    nn_archive *archive;
    torch_storage *storage; /* [storages] */
    size_t storages, storage_room;
    nn_names keys;          /* storage's key -> index */
    torch_view *view;       /* [nn_archive_count(archive)] */
    size_t view_room;
    torch_read_range *read;
    void *self;             /* of read */
} torch_tensors;

/* Adds the pickle's tensors to t->archive (set by the caller, with read and self), and its JSON. */
nn_code torch_collect(torch_tensors *t, const pickle *p, uint64_t file_size, nn_error *e);

/* The storage of that key, or NULL. */
torch_storage *torch_find(const torch_tensors *t, const char *key);

/* A storage that tensors need is not there, or is shorter than they need: names the first tensor. */
nn_code torch_fail_storage(const torch_tensors *t, const torch_storage *s, const char *problem, nn_error *e);

/* Tensor i as nn_archive_read. */
nn_code torch_read(const torch_tensors *t, size_t i, void *dst, nn_error *e);
void torch_free(torch_tensors *t);

#endif
