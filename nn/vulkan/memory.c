/* memory.c - buffers, and checkpoints' weights on the device.
 *
 * A store is one buffer per checkpoint. Blobs are given their places in the order in which they are asked for, and are
 * uploaded when some have gathered; a buffer that proves too small is copied into a larger one. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"

enum { BLOB_ALIGN = 256 };
static const size_t upload_bytes = (size_t)32 << 20, gather_bytes = (size_t)64 << 20;

/* ---- buffers ---- */

static uint32_t memory_type(const nn_vk_card *c, uint32_t allowed, VkMemoryPropertyFlags wanted) {
    for (uint32_t i = 0; i < c->memory.memoryTypeCount; i++)
        if (allowed >> i & 1 && (c->memory.memoryTypes[i].propertyFlags & wanted) == wanted) return i;
    return UINT32_MAX;
}

static VkResult allocate(nn_vk_buffer *b, nn_vk_device *d, bool host) {
    static const VkMemoryPropertyFlags on_host[] = {
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT | VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT};
    static const VkMemoryPropertyFlags on_device[] = {VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, 0};
    const nn_vk_api *vk = &d->api;
    VkMemoryRequirements need;
    vk->GetBufferMemoryRequirements(d->device, b->buffer, &need);
    VkResult result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
    for (int i = 0; i < 2 && result; i++) {
        const uint32_t type = memory_type(&d->card, need.memoryTypeBits, host ? on_host[i] : on_device[i]);
        if (type == UINT32_MAX) continue;
        VkMemoryAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                     .allocationSize = need.size,
                                     .memoryTypeIndex = type};
        result = vk->AllocateMemory(d->device, &info, NULL, &b->memory);
        if (!host) break;            /* values in the host's memory would be no help, and no error either */
    }
    if (!result) result = vk->BindBufferMemory(d->device, b->buffer, b->memory, 0);
    if (!result && host) result = vk->MapMemory(d->device, b->memory, 0, VK_WHOLE_SIZE, 0, &b->map);
    return result;
}

nn_code nn_vk_buffer_new(nn_vk_buffer *b, nn_vk_device *d, VkDeviceSize bytes, bool host, const char *what, nn_error *e) {
    bytes = (bytes + BLOB_ALIGN - 1) & ~(VkDeviceSize)(BLOB_ALIGN - 1);
    if (!bytes) bytes = BLOB_ALIGN;
    *b = (nn_vk_buffer){.bytes = bytes};
    if (bytes > d->card.range)
        return nn_fail(e, NN_ERROR_MEMORY, "%s: %s take %.0f MB in one piece, and this device allows %.0f MB: take smaller "
                       "pieces, another device, or --device cpu", d->base.name, what, (double)bytes * 1e-6,
                       (double)d->card.range * 1e-6);
    VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                               .size = bytes,
                               .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                                        VK_BUFFER_USAGE_TRANSFER_DST_BIT};
    VkResult result = d->api.CreateBuffer(d->device, &info, NULL, &b->buffer);
    if (!result) result = allocate(b, d, host);
    if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY && d->stores) {      /* weights that no plan uses make room */
        if (b->memory) d->api.FreeMemory(d->device, b->memory, NULL);
        b->memory = VK_NULL_HANDLE;
        nn_vk_stores_free(d, true);
        result = b->buffer ? allocate(b, d, host) : result;
    }
    if (!result) return NN_OK;
    nn_vk_buffer_free(b, d);
    char text[160];
    snprintf(text, sizeof text, "%.0f MB for %s", (double)bytes * 1e-6, what);
    return nn_vk_check(result, d->base.name, text, e);
}

void nn_vk_buffer_free(nn_vk_buffer *b, nn_vk_device *d) {
    if (b->buffer) d->api.DestroyBuffer(d->device, b->buffer, NULL);
    if (b->memory) d->api.FreeMemory(d->device, b->memory, NULL);
    *b = (nn_vk_buffer){0};
}

/* ---- stores ---- */

/* The checkpoint's mark: a number that no other set of weights of this process has. */
static nn_code mark_of(nn_weights *w, uint64_t *mark, nn_error *e) {
    static atomic_uint_fast64_t next = 1;
    const void *have = nn_weights_packed(w, "vulkan|mark");
    if (!have) {
        uint64_t *fresh = malloc(sizeof *fresh);
        if (fresh) *fresh = atomic_fetch_add(&next, 1);
        have = fresh ? nn_weights_keep(w, "vulkan|mark", fresh, sizeof *fresh) : NULL;
    }
    if (!have) return nn_fail_memory(e, "weights");
    memcpy(mark, have, sizeof *mark);
    return NN_OK;
}

nn_code nn_vk_store_hold(nn_vk_store **out, nn_vk_device *d, nn_weights *w, nn_error *e) {
    uint64_t mark = 0;
    nn_code code = mark_of(w, &mark, e);
    if (code) return code;
    nn_vk_store *s = d->stores;
    while (s && s->mark != mark) s = s->next;
    if (!s) {
        s = calloc(1, sizeof *s);
        if (!s) return nn_fail_memory(e, "weights");
        s->mark = mark;
        s->next = d->stores;
        d->stores = s;
    }
    s->plans++;
    *out = s;
    return NN_OK;
}

void nn_vk_store_release(nn_vk_store *s) {
    if (s) s->plans--;
}

void nn_vk_stores_free(nn_vk_device *d, bool idle_only) {
    for (nn_vk_store **at = &d->stores; *at;) {
        nn_vk_store *s = *at;
        if (idle_only && s->plans) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        for (size_t i = 0; i < s->blobs; i++) {
            free(s->blob[i].key);
            free(s->blob[i].data);
        }
        nn_vk_buffer_free(&s->buffer, d);
        free(s->blob);
        free(s);
    }
}

const nn_vk_blob *nn_vk_store_find(const nn_vk_store *s, const char *key) {
    for (size_t i = 0; i < s->blobs; i++)
        if (!strcmp(s->blob[i].key, key)) return &s->blob[i];
    return NULL;
}

nn_code nn_vk_store_add(nn_vk_store *s, nn_vk_device *d, const char *key, void *data, size_t bytes, size_t *offset, nn_error *e) {
    if (s->blobs == s->capacity) {
        const size_t capacity = s->capacity ? 2 * s->capacity : 64;
        nn_vk_blob *blob = realloc(s->blob, capacity * sizeof *blob);
        if (blob) {
            s->blob = blob;
            s->capacity = capacity;
        }
    }
    char *copy = s->blobs < s->capacity ? malloc(strlen(key) + 1) : NULL;
    if (!copy) {
        free(data);
        return nn_fail_memory(e, key);
    }
    strcpy(copy, key);
    *offset = s->used;
    s->blob[s->blobs++] = (nn_vk_blob){copy, s->used, data, bytes};
    s->used += (bytes + BLOB_ALIGN - 1) & ~(size_t)(BLOB_ALIGN - 1);
    s->pending += bytes;
    return s->pending > gather_bytes ? nn_vk_store_upload(s, d, e) : NN_OK;
}

/* Room for all blobs; what was uploaded comes along. */
static nn_code grow(nn_vk_store *s, nn_vk_device *d, nn_error *e) {
    if (s->used <= s->buffer.bytes) return NN_OK;
    nn_vk_buffer larger;
    nn_code code = nn_vk_buffer_new(&larger, d, s->used, false, "weights", e);
    if (!code && s->buffer.bytes) {
        VkCommandBuffer commands;
        code = nn_vk_begin(d, &commands, e);
        if (!code) {
            VkBufferCopy all = {0, 0, s->buffer.bytes};
            d->api.CmdCopyBuffer(commands, s->buffer.buffer, larger.buffer, 1, &all);
            code = nn_vk_submit(d, commands, false, e);
        }
        if (code) nn_vk_buffer_free(&larger, d);
    }
    if (code) return code;
    nn_vk_buffer_free(&s->buffer, d);
    s->buffer = larger;
    s->generation++;
    return NN_OK;
}

/* Copies the staging memory's first `bytes` to the store at `to`. */
static nn_code send(nn_vk_store *s, nn_vk_device *d, size_t to, size_t bytes, nn_error *e) {
    VkCommandBuffer commands;
    nn_code code = nn_vk_begin(d, &commands, e);
    if (code) return code;
    VkBufferCopy piece = {0, to, bytes};
    d->api.CmdCopyBuffer(commands, d->upload.buffer, s->buffer.buffer, 1, &piece);
    return nn_vk_submit(d, commands, false, e);
}

/* Blobs that wait lie one after another in the buffer, so they go in pieces as large as the staging memory. */
nn_code nn_vk_store_upload(nn_vk_store *s, nn_vk_device *d, nn_error *e) {
    if (!s->pending) return NN_OK;
    nn_code code = grow(s, d, e);
    if (!code && !d->upload.bytes) code = nn_vk_buffer_new(&d->upload, d, upload_bytes, true, "staging", e);
    size_t from = 0, filled = 0;         /* the piece: where it goes, how much of it there is */
    for (size_t i = 0; i < s->blobs && !code; i++) {
        nn_vk_blob *b = &s->blob[i];
        if (!b->data) continue;
        for (size_t done = 0; done < b->bytes && !code;) {
            const size_t at = b->offset + done;
            if (filled && at - from >= upload_bytes) {
                code = send(s, d, from, filled, e);
                filled = 0;
                continue;
            }
            if (!filled) from = at;
            size_t n = b->bytes - done;
            if (n > upload_bytes - (at - from)) n = upload_bytes - (at - from);
            memcpy((char *)d->upload.map + (at - from), (const char *)b->data + done, n);
            filled = at - from + n;
            done += n;
        }
    }
    if (!code && filled) code = send(s, d, from, filled, e);
    if (code) return code;
    for (size_t i = 0; i < s->blobs; i++) {
        free(s->blob[i].data);
        s->blob[i].data = NULL;
    }
    s->pending = 0;
    return NN_OK;
}
