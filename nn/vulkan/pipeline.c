/* pipeline.c - compute pipelines: one per shader and set of constants, made when first wanted; and their cache on disk.
 *
 * The cache file is $XDG_CACHE_HOME/rvc or ~/.cache/rvc, named after the driver; at its end are a checksum, so that a driver is
 * never given a damaged one, and one of all shaders, so that those of another version of the program do not gather in it. What
 * cannot be read or written is as if it were not there. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../share.h"
#include "device.h"
#include "specialize.h"

static const nn_vk_shader *find(const char *stem, const char *variant) {
    char name[64];
    snprintf(name, sizeof name, "%s.%s", stem, variant);
    for (int i = 0; i < nn_vk_shader_count; i++)
        if (!strcmp(nn_vk_shaders[i].name, name)) return &nn_vk_shaders[i];
    return NULL;
}

const nn_vk_shader *nn_vk_shader_find(const nn_vk_traits *t, const char *stem) {
    const char *last = strrchr(stem, '_');
    const bool khr = t->matrix_khr && last && !strcmp(last, "_matrix");
    return find(stem, khr ? (t->f16 ? "khr16" : "khr32") : t->f16 ? "f16" : "f32");
}

nn_vk_pipeline *nn_vk_pipeline_get(nn_vk_device *d, const nn_vk_shader *shader, const uint32_t *constant) {
    nn_vk_home *h = d->home;
    for (int i = 0; i < h->pipelines; i++) {
        nn_vk_pipeline *p = h->pipeline[i];
        if (p->shader == shader && !memcmp(p->constant, constant, sizeof p->constant)) return p;
    }
    if (h->pipelines == h->pipeline_capacity) {
        const int capacity = h->pipelines ? 2 * h->pipelines : 64;
        nn_vk_pipeline **list = realloc(h->pipeline, (size_t)capacity * sizeof *list);
        if (!list) return NULL;
        h->pipeline = list;
        h->pipeline_capacity = capacity;
    }
    nn_vk_pipeline *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->shader = shader;
    memcpy(p->constant, constant, sizeof p->constant);
    return h->pipeline[h->pipelines++] = p;
}

/* The driver is given the shader with its constants put in; or, where that fails, both. */
static void make_one(nn_vk_device *d, nn_vk_pipeline *p) {
    VkSpecializationMapEntry entry[NN_VK_ALL_CONSTANTS];
    for (uint32_t i = 0; i < NN_VK_ALL_CONSTANTS; i++) entry[i] = (VkSpecializationMapEntry){i, 4 * i, 4};
    VkSpecializationInfo constants = {NN_VK_ALL_CONSTANTS, entry, sizeof p->constant, p->constant};
    uint32_t *special;
    size_t words;
    const bool done = nn_vk_specialize(p->shader->code, p->shader->bytes / 4, p->constant,
                                       NN_VK_ALL_CONSTANTS, &special, &words);
    VkShaderModuleCreateInfo module_info = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                            .codeSize = done ? words * 4 : p->shader->bytes,
                                            .pCode = done ? special : p->shader->code};
    VkShaderModule module = VK_NULL_HANDLE;
    p->result = d->api.CreateShaderModule(d->device, &module_info, NULL, &module);
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = module,
                  .pName = "main",
                  .pSpecializationInfo = done ? NULL : &constants},
        .layout = d->layout};
    if (!p->result)
        p->result = d->api.CreateComputePipelines(d->device, d->cache, 1, &info, NULL, &p->handle);
    d->api.DestroyShaderModule(d->device, module, NULL);
    free(special);
}

static void make_if_new(void *context, size_t i) {
    nn_vk_device *d = context;
    nn_vk_pipeline *p = d->home->pipeline[i];
    if (!p->handle) make_one(d, p);
}

/* How long a driver takes for one, roughly: half a second, a third, a fifth; hundredths for the rest. */
static int toil(const nn_vk_pipeline *p) {
    static const char *const slow[] = {"conv_matrix", "conv_image_matrix", "attention_matrix"};
    for (int i = 0; i < 3; i++)
        if (!strncmp(p->shader->name, slow[i], strlen(slow[i]))) return i + 1;
    return 0;
}

/* The slow ones first, so that no thread is left with one at the end. */
static int by_toil(const void *a, const void *b) {
    return toil(*(nn_vk_pipeline *const *)b) - toil(*(nn_vk_pipeline *const *)a);
}

/* Drivers take milliseconds to seconds for one pipeline, and threads side by side. */
nn_code nn_vk_pipelines_make(nn_vk_device *d, nn_error *e) {
    const nn_vk_home *h = d->home;
    int wanted = 0;
    for (int i = 0; i < h->pipelines; i++) wanted += !h->pipeline[i]->handle;
    if (!wanted) return NN_OK;
    qsort(h->pipeline, (size_t)h->pipelines, sizeof(nn_vk_pipeline *), by_toil);
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    nn_share(wanted < cores ? wanted : (int)cores, (size_t)h->pipelines, make_if_new, d);
    for (int i = 0; i < h->pipelines; i++) {
        char what[120];
        snprintf(what, sizeof what, "compiling the shader \"%s\"", h->pipeline[i]->shader->name);
        const nn_code code = nn_vk_check(h->pipeline[i]->result, d->base.name, what, e);
        if (code) return code;
    }
    return NN_OK;
}

void nn_vk_pipelines_free(nn_vk_device *d) {
    nn_vk_home *h = d->home;
    for (int i = 0; i < h->pipelines; i++) {
        if (h->pipeline[i]->handle) d->api.DestroyPipeline(d->device, h->pipeline[i]->handle, NULL);
        free(h->pipeline[i]);
    }
    free(h->pipeline);
    h->pipeline = NULL;
    h->pipelines = 0;
}

/* ---- the cache ---- */

enum { PATH_MOST = 1024 };
static const size_t cache_most = (size_t)256 << 20;

/* FNV-1a (Fowler, Noll, Vo), but of eight bytes at a time, and with the upper half of what that makes mixed in. */
static uint64_t checksum(const void *data, size_t n) {
    const unsigned char *p = data;
    uint64_t h = 0xcbf29ce484222325u, word;
    for (; n > 0; n -= n < sizeof word ? n : sizeof word, p += sizeof word) {
        word = n;
        memcpy(&word, p, n < sizeof word ? n : sizeof word);
        h = (h ^ word) * 0x100000001b3u;
        h ^= h >> 32;
    }
    return h;
}

/* What stands behind the driver's data. */
typedef struct seal {
    uint64_t shaders, data;
} seal;

static seal seal_of(const void *data, size_t bytes) {
    seal s = {.data = checksum(data, bytes)};
    for (int i = 0; i < nn_vk_shader_count; i++)
        s.shaders = 31 * s.shaders + checksum(nn_vk_shaders[i].code, nn_vk_shaders[i].bytes);
    return s;
}

static bool cache_path(const nn_vk_device *d, bool make, char path[PATH_MOST]) {
    const char *root = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n;
    if (root && *root == '/')
        n = snprintf(path, PATH_MOST, "%s", root);
    else if (home && *home == '/')
        n = snprintf(path, PATH_MOST, "%s/.cache", home);
    else
        return false;
    if (n < 0 || n > PATH_MOST - 80) return false;
    if (make && mkdir(path, 0700) && errno != EEXIST) return false;
    n += snprintf(path + n, (size_t)(PATH_MOST - n), "/rvc");
    if (make && mkdir(path, 0700) && errno != EEXIST) return false;
    const VkPhysicalDeviceProperties *p = &d->card.properties;
    const uint64_t driver = checksum(p->pipelineCacheUUID, VK_UUID_SIZE);
    n += snprintf(path + n, (size_t)(PATH_MOST - n), "/vulkan-%04x-%04x-%08x-%016" PRIx64, p->vendorID,
                  p->deviceID, p->driverVersion, driver);
    return n < PATH_MOST - 30;
}

/* The file's contents without the seal, for free(); NULL where there is no whole file of these shaders. */
static unsigned char *read_cache(const char *path, size_t *bytes) {
    struct stat s;
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    unsigned char *data = NULL;
    if (!fstat(fileno(f), &s) && s.st_size > (off_t)sizeof(seal) && (size_t)s.st_size < cache_most) {
        const size_t size = (size_t)s.st_size;
        *bytes = size - sizeof(seal);
        data = malloc(size);
        bool whole = data && fread(data, 1, size, f) == size;
        if (whole) {
            const seal wanted = seal_of(data, *bytes);
            whole = !memcmp(data + *bytes, &wanted, sizeof wanted);
        }
        if (!whole) {
            free(data);
            data = NULL;
        }
    }
    fclose(f);
    return data;
}

nn_code nn_vk_cache_load(nn_vk_device *d, nn_error *e) {
    char path[PATH_MOST];
    size_t bytes = 0;
    unsigned char *data = cache_path(d, false, path) ? read_cache(path, &bytes) : NULL;
    VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
                                      .initialDataSize = data ? bytes : 0,
                                      .pInitialData = data};
    VkResult result = d->api.CreatePipelineCache(d->device, &info, NULL, &d->cache);
    if (result && data) { /* the driver does not like it: as if there were none */
        info = (VkPipelineCacheCreateInfo){.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
        result = d->api.CreatePipelineCache(d->device, &info, NULL, &d->cache);
        bytes = 0;
    }
    d->home->cache_bytes = data ? bytes : 0;
    free(data);
    return nn_vk_check(result, d->base.name, "the pipeline cache", e);
}

void nn_vk_cache_save(nn_vk_device *d) {
    char path[PATH_MOST], part[PATH_MOST];
    size_t bytes = 0;
    if (!d->cache || d->api.GetPipelineCacheData(d->device, d->cache, &bytes, NULL) ||
        bytes <= d->home->cache_bytes || bytes > cache_most || !cache_path(d, true, path))
        return;
    unsigned char *data = malloc(bytes + sizeof(seal));
    if (data && !d->api.GetPipelineCacheData(d->device, d->cache, &bytes, data)) {
        const seal s = seal_of(data, bytes);
        memcpy(data + bytes, &s, sizeof s);
        snprintf(part, sizeof part, "%.990s.%ld", path, (long)getpid());
        FILE *f = fopen(part, "wb");
        bool ok = f && fwrite(data, 1, bytes + sizeof s, f) == bytes + sizeof s;
        if (f && fclose(f)) ok = false;
        if (!ok || rename(part, path)) remove(part);
    }
    free(data);
}
