/* memory.c - buffers, and checkpoints' weights on the device.
 *
 * A store is one buffer. Blobs are given their places in the order in which they are asked for; a buffer that proves too
 * small is copied into a larger one. Where the host sees all of the card's memory, whoever made a blob writes it there itself,
 * beside others who do the same; else blobs are uploaded when some have gathered. */
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

/* Counts `bytes` more of the card's own memory; false where that is above the limit that tests set. */
static bool count(nn_vk_device *d, VkDeviceSize bytes) {
    nn_vk_home *h = d->home;
    nn_vk_lock(d);
    const bool fits = !h->limit || h->bytes + bytes <= h->limit;
    if (fits) h->bytes += (size_t)bytes;
    if (h->bytes > h->most_bytes) h->most_bytes = h->bytes;
    nn_vk_unlock(d);
    return fits;
}

/* The card's own memory as the host sees it: all of it, not the small window that some cards show. */
static uint32_t mapped_type(const nn_vk_card *c, uint32_t allowed) {
    const uint32_t type =
        memory_type(c, allowed,
                    VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                        VK_MEMORY_PROPERTY_HOST_COHERENT_BIT);
    if (type == UINT32_MAX) return type;
    return c->memory.memoryHeaps[c->memory.memoryTypes[type].heapIndex].size == c->bytes ? type : UINT32_MAX;
}

static VkResult allocate(nn_vk_buffer *b, nn_vk_device *d, nn_vk_place place) {
    static const VkMemoryPropertyFlags on_host[] = {
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT |
            VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT};
    static const VkMemoryPropertyFlags on_device[] = {VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, 0};
    const nn_vk_api *vk = &d->api;
    VkMemoryRequirements need;
    vk->GetBufferMemoryRequirements(d->device, b->buffer, &need);
    VkResult result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
    const bool host = place == NN_VK_HOST;
    if (!host && !count(d, need.size)) return result;
    b->counted = host ? 0 : need.size;
    const uint32_t mapped =
        place == NN_VK_MAPPED && !d->home->staged ? mapped_type(&d->card, need.memoryTypeBits) : UINT32_MAX;
    for (int i = 0; i < 2 && result; i++) {
        uint32_t type = memory_type(&d->card, need.memoryTypeBits, host ? on_host[i] : on_device[i]);
        if (mapped != UINT32_MAX) type = mapped;
        if (type == UINT32_MAX) continue;
        VkMemoryAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                     .allocationSize = need.size,
                                     .memoryTypeIndex = type};
        result = vk->AllocateMemory(d->device, &info, NULL, &b->memory);
        if (!host) break; /* values in the host's memory would be no help, and no error either */
    }
    if (!result) result = vk->BindBufferMemory(d->device, b->buffer, b->memory, 0);
    if (!result && host) result = vk->MapMemory(d->device, b->memory, 0, VK_WHOLE_SIZE, 0, &b->map);
    if (!result && mapped != UINT32_MAX && vk->MapMemory(d->device, b->memory, 0, VK_WHOLE_SIZE, 0, &b->map))
        b->map = NULL;
    return result;
}

static void free_memory(nn_vk_buffer *b, nn_vk_device *d) {
    if (b->memory) d->api.FreeMemory(d->device, b->memory, NULL);
    b->memory = VK_NULL_HANDLE;
    nn_vk_lock(d);
    d->home->bytes -= (size_t)b->counted;
    nn_vk_unlock(d);
    b->counted = 0;
}

static nn_code fail_memory(nn_vk_device *d, VkDeviceSize bytes, const char *what, nn_error *e) {
    nn_vk_lock(d);
    const double used = (double)d->home->bytes,
                 all = (double)(d->home->limit ? d->home->limit : d->card.bytes);
    d->home->full = true;
    nn_vk_unlock(d);
    return nn_fail(e, NN_ERROR_MEMORY,
                   "%s: out of device memory: no room for %.0f MB of %s beside the %.0f MB that this program "
                   "uses of %.0f MB: close other programs that use the device, or take %s--device cpu",
                   d->base.name, (double)bytes * 1e-6, what, used * 1e-6, all * 1e-6,
                   d->card.traits.f16 ? "" : "--precision f16 or ");
}

nn_code nn_vk_buffer_new(nn_vk_buffer *b, nn_vk_device *d, VkDeviceSize bytes, nn_vk_place place,
                         const char *what, nn_error *e) {
    bytes = (bytes + BLOB_ALIGN - 1) & ~(VkDeviceSize)(BLOB_ALIGN - 1);
    if (!bytes) bytes = BLOB_ALIGN;
    *b = (nn_vk_buffer){.bytes = bytes};
    if (bytes > d->card.range)
        return nn_fail(e, NN_ERROR_MEMORY,
                       "%s: %s take %.0f MB in one piece, and this device allows %.0f MB: take smaller "
                       "pieces, another device, or --device cpu",
                       d->base.name, what, (double)bytes * 1e-6, (double)d->card.range * 1e-6);
    VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                               .size = bytes,
                               .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
                                        VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT};
    VkResult result = d->api.CreateBuffer(d->device, &info, NULL, &b->buffer);
    if (!result) result = allocate(b, d, place);
    if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY && b->buffer) { /* weights that no plan uses make room */
        free_memory(b, d);
        nn_vk_lock(d);
        nn_vk_stores_free(d, true);
        nn_vk_unlock(d);
        result = allocate(b, d, place);
    }
    if (!result) return NN_OK;
    nn_vk_buffer_free(b, d);
    if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY) return fail_memory(d, bytes, what, e);
    char text[160];
    snprintf(text, sizeof text, "%.0f MB for %s", (double)bytes * 1e-6, what);
    return nn_vk_check(result, d->base.name, text, e);
}

void nn_vk_buffer_free(nn_vk_buffer *b, nn_vk_device *d) {
    if (b->buffer) d->api.DestroyBuffer(d->device, b->buffer, NULL);
    free_memory(b, d);
    *b = (nn_vk_buffer){0};
}

/* ---- stores ---- */

nn_code nn_vk_mark(nn_weights *w, uint64_t *mark, nn_error *e) {
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

/* Packed weights are as many numbers as the checkpoint's and a little padding, so that most stores never grow. */
static size_t expected_bytes(const nn_weights *w, bool f16) {
    int64_t numbers = 0;
    for (size_t i = 0; i < nn_weights_count(w); i++) numbers += nn_weights_at(w, i)->count;
    const size_t bytes = (size_t)numbers * (f16 ? sizeof(uint16_t) : sizeof(float));
    return bytes + bytes / 16;
}

static bool is_of(const nn_vk_store *s, const nn_vk_device *d, uint64_t mark) {
    return s->mark == mark && s->f16 == d->card.traits.f16;
}

/* Room for what the same node needs beside its largest blob, a few vectors. */
enum { BESIDE = 1 << 16 };

/* The checkpoint's store with room for so many bytes more, or a new one; NULL: out of memory. */
static nn_vk_store *with_room(nn_vk_device *d, const nn_weights *w, bool f16, uint64_t mark, size_t bytes) {
    size_t before = 0;
    for (nn_vk_store *s = d->home->stores; s; s = s->next) {
        if (!is_of(s, d, mark)) continue;
        if (s->used + bytes + BESIDE <= d->home->page) return s;
        before += s->used;
    }
    nn_vk_store *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    const size_t all = expected_bytes(w, f16), rest = all > before ? all - before : 0;
    *s = (nn_vk_store){.mark = mark,
                       .f16 = d->card.traits.f16,
                       .next = d->home->stores,
                       .expected = rest < d->home->page ? rest : d->home->page};
    return d->home->stores = s;
}

void nn_vk_store_release(nn_vk_store *s, nn_vk_device *d) {
    nn_vk_lock(d);
    if (s) s->plans--;
    nn_vk_unlock(d);
}

void nn_vk_stores_free(nn_vk_device *d, bool idle_only) {
    for (nn_vk_store **at = &d->home->stores; *at;) {
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

static bool find(const nn_vk_store *s, const char *key, size_t *offset) {
    for (size_t i = 0; i < s->blobs; i++)
        if (!strcmp(s->blob[i].key, key)) {
            *offset = s->blob[i].offset;
            return true;
        }
    return false;
}

bool nn_vk_store_find(nn_vk_store **store, nn_vk_device *d, uint64_t mark, const char *key, size_t *offset) {
    nn_vk_lock(d);
    bool found = *store && find(*store, key, offset);
    for (nn_vk_store *s = *store ? NULL : d->home->stores; s && !found; s = s->next) {
        found = is_of(s, d, mark) && find(s, key, offset);
        if (!found) continue;
        s->plans++;
        *store = s;
    }
    nn_vk_unlock(d);
    return found;
}

static size_t aligned(size_t bytes) {
    return (bytes + BLOB_ALIGN - 1) & ~(size_t)(BLOB_ALIGN - 1);
}

/* Gives the blob its place; data NULL: somebody will write it there. */
static nn_code append(nn_vk_store *s, const char *key, void *data, size_t bytes, size_t *offset,
                      nn_error *e) {
    if (s->blobs == s->capacity) {
        const size_t capacity = s->capacity ? 2 * s->capacity : 64;
        nn_vk_blob *blob = realloc(s->blob, capacity * sizeof *blob);
        if (blob) {
            s->blob = blob;
            s->capacity = capacity;
        }
    }
    char *copy = s->blobs < s->capacity ? malloc(strlen(key) + 1) : NULL;
    if (!copy) return nn_fail_memory(e, key);
    strcpy(copy, key);
    *offset = s->used;
    s->blob[s->blobs++] = (nn_vk_blob){copy, s->used, data, bytes};
    s->used += aligned(bytes);
    s->pending += data ? bytes : 0;
    return NN_OK;
}

/* Room for so many bytes; what is there comes along. Other devices' runs read the old buffer until they are done. */
static nn_code grow(nn_vk_store *s, nn_vk_device *d, size_t used, nn_error *e) {
    if (used <= s->buffer.bytes) return NN_OK;
    size_t bytes = s->expected;
    if (used > bytes) bytes = 2 * bytes < d->home->page ? 2 * bytes : d->home->page;
    if (used > bytes) bytes = used;
    nn_vk_buffer larger;
    pthread_rwlock_wrlock(&d->home->writing);
    nn_code code = nn_vk_buffer_new(&larger, d, bytes, NN_VK_MAPPED, "weights", e);
    if (!code) code = NN_VK_TRY(d, DeviceWaitIdle(d->device), "waiting", e);
    if (!code && s->buffer.bytes) {
        VkCommandBuffer commands;
        code = nn_vk_begin(d, &commands, e);
        if (!code) {
            VkBufferCopy all = {0, 0, s->buffer.bytes};
            d->api.CmdCopyBuffer(commands, s->buffer.buffer, larger.buffer, 1, &all);
            code = nn_vk_finish(d, commands, e);
        }
    }
    if (!code) {
        const nn_vk_buffer old = s->buffer;
        s->buffer = larger;
        s->generation++;
        larger = old;
    }
    nn_vk_buffer_free(&larger, d);
    pthread_rwlock_unlock(&d->home->writing);
    return code;
}

/* The blob that has just been given its place, which is let go; the home is unlocked while it is written. */
static void write_mapped(const nn_vk_store *s, nn_vk_device *d, size_t offset, void *data, size_t bytes) {
    pthread_rwlock_rdlock(&d->home->writing); /* before the home is unlocked: from here on the buffer stays */
    char *to = (char *)s->buffer.map + offset;
    nn_vk_unlock(d);
    memcpy(to, data, bytes);
    pthread_rwlock_unlock(&d->home->writing);
    free(data);
}

nn_code nn_vk_store_add(nn_vk_store **store, nn_vk_device *d, const nn_weights *w, bool f16, uint64_t mark,
                        const char *key, void *data, size_t bytes, size_t *offset, nn_error *e) {
    nn_vk_lock(d);
    if (nn_vk_store_find(store, d, mark, key, offset)) { /* another thread was faster */
        nn_vk_unlock(d);
        free(data);
        return NN_OK;
    }
    nn_vk_store *s = *store ? *store : with_room(d, w, f16, mark, bytes);
    nn_code code = s ? NN_OK : nn_fail_memory(e, key);
    if (!code && !*store) s->plans++;
    *store = s;
    if (!code) code = grow(s, d, s->used + aligned(bytes), e);
    const bool mapped = !code && s->buffer.map;
    if (!code) code = append(s, key, mapped ? NULL : data, bytes, offset, e);
    if (!code && mapped) {
        write_mapped(s, d, *offset, data, bytes);
        return NN_OK;
    }
    if (code) free(data);
    if (!code && s->pending > gather_bytes) code = nn_vk_store_upload(s, d, e);
    nn_vk_unlock(d);
    return code;
}

/* Copies the staging memory's first `bytes` to the store at `to`. */
static nn_code send(nn_vk_store *s, nn_vk_device *d, size_t to, size_t bytes, nn_error *e) {
    VkCommandBuffer commands;
    nn_code code = nn_vk_begin(d, &commands, e);
    if (code) return code;
    VkBufferCopy piece = {0, to, bytes};
    d->api.CmdCopyBuffer(commands, d->home->upload.buffer, s->buffer.buffer, 1, &piece);
    return nn_vk_finish(d, commands, e);
}

/* Blobs that wait lie one after another in the buffer, so they go in pieces as large as the staging memory. */
static nn_code upload(nn_vk_store *s, nn_vk_device *d, nn_error *e) {
    nn_vk_buffer *staging = &d->home->upload;
    nn_code code =
        staging->bytes ? NN_OK : nn_vk_buffer_new(staging, d, upload_bytes, NN_VK_HOST, "staging", e);
    size_t from = 0, filled = 0; /* the piece: where it goes, how much of it there is */
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
            memcpy((char *)staging->map + (at - from), (const char *)b->data + done, n);
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

nn_code nn_vk_store_upload(nn_vk_store *s, nn_vk_device *d, nn_error *e) {
    nn_vk_lock(d);
    const nn_code code = s->pending ? upload(s, d, e) : NN_OK;
    nn_vk_unlock(d);
    pthread_rwlock_wrlock(&d->home->writing); /* nobody is writing any more */
    pthread_rwlock_unlock(&d->home->writing);
    return code;
}
