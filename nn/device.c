/* device.c - devices by name: the CPU, and the GPUs that Vulkan shows.
 *
 * Invariant: a device that was named is opened or it is an error; only "auto" chooses, and the device's name says what. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plan.h"
#include "vulkan/vulkan.h"

static const char *const precisions[] = {[NN_F32] = "f32", [NN_F16] = "f16", [NN_BF16] = "bf16"};

bool nn_precision_parse(const char *text, nn_precision *out) {
    for (int i = 0; i < 3; i++)
        if (!strcmp(text, precisions[i])) {
            *out = (nn_precision)i;
            return true;
        }
    return false;
}

static int cores_allowed(void) {
    cpu_set_t set;
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    return n > 0 ? (int)n : 1;
}

static nn_code check_gpu(const char *name, nn_precision precision, nn_error *e) {
    if (precision != NN_BF16) return NN_OK;
    return nn_fail(e, NN_ERROR_ARGUMENT,
                   "GPUs compute in f32 and f16 here, not in bf16: take --precision f16 with --device %.64s, "
                   "or --device cpu",
                   name);
}

static int bits(nn_precision precision) {
    return precision == NN_F16 ? 16 : 32;
}

/* Threads are for what the host does beside a GPU's work. */
static nn_code open_gpu(nn_device **out, const char *name, nn_precision precision, int threads, nn_error *e) {
    nn_code code = check_gpu(name, precision, e);
    if (!code) code = nn_vulkan_open(out, name, bits(precision), e);
    if (!code) (*out)->threads = threads > 0 ? threads : cores_allowed();
    return code;
}

/* The best GPU that can do what is asked; the CPU where there is none. */
static nn_code open_auto(nn_device **out, nn_precision precision, int threads, nn_error *e) {
    nn_error none = {0};
    const nn_code code = open_gpu(out, "auto", precision, threads, &none);
    if (!code) return NN_OK;
    if (code == NN_ERROR_MEMORY) return nn_fail(e, code, "%s", none.text);
    return nn_cpu_open(out, precision, threads, e);
}

nn_code nn_device_open(nn_device **out, const char *name, int threads, nn_error *e) {
    return nn_device_open_precise(out, name, NN_F32, threads, e);
}

nn_code nn_device_open_precise(nn_device **out, const char *name, nn_precision precision, int threads,
                               nn_error *e) {
    const char *wish = getenv("RVC_DEVICE");
    *out = NULL;
    if (!strcmp(name, "auto") && wish && *wish) name = wish;
    if (!strcmp(name, "auto")) return open_auto(out, precision, threads, e);
    if (!strcmp(name, "cpu")) return nn_cpu_open(out, precision, threads, e);
    return open_gpu(out, name, precision, threads, e);
}

nn_code nn_device_open_beside(nn_device **out, nn_device *other, nn_precision precision, nn_error *e) {
    const bool plain = precision == NN_PLAIN;
    if (!nn_vulkan_is(other)) return nn_cpu_open(out, plain ? NN_F32 : precision, other->threads, e);
    const nn_code code = check_gpu(other->name, precision, e);
    return code ? code : nn_vulkan_open_beside(out, other, bits(precision), !plain, e);
}

void nn_device_close(nn_device *d) {
    if (d) d->backend->close(d);
}

const char *nn_device_name(const nn_device *d) {
    return d->name;
}
const char *nn_device_layout(const nn_device *d) {
    return d->layout;
}
int nn_device_threads(const nn_device *d) {
    return d->threads;
}
bool nn_device_is_gpu(const nn_device *d) {
    return nn_vulkan_is(d);
}
size_t nn_device_memory(nn_device *d) {
    return nn_vulkan_is(d) ? nn_vulkan_memory(d) : 0;
}

int nn_device_abreast(const nn_device *d) {
    return nn_vulkan_is(d) ? nn_vulkan_abreast(d) : 1;
}

/* ---- the list ---- */

typedef struct listing {
    void (*each)(void *user, const char *line);
    void *user;
    int count;
} listing;

static void count_and_pass(void *user, const char *line) {
    listing *l = user;
    l->count++;
    l->each(l->user, line);
}

static nn_code list_cpu(listing *l, nn_error *e) {
    nn_device *d = NULL;
    char line[200];
    const double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    const nn_code code = nn_cpu_open(&d, NN_F32, 0, e);
    if (code) return code;
    snprintf(line, sizeof line, "%s, %.1f GiB of memory", d->name, memory / 1073741824.0);
    l->each(l->user, line);
    nn_device_close(d);
    return NN_OK;
}

nn_code nn_device_list(void (*each)(void *user, const char *line), void *user, nn_error *e) {
    listing l = {each, user, 0};
    nn_device *d = NULL;
    char line[1100];
    nn_code code = list_cpu(&l, e);
    if (!code) code = nn_vulkan_list(count_and_pass, &l, e);
    if (code) return code;
    if (!l.count) { /* the message that opening one gives says why */
        nn_error none = {0};
        if (!nn_vulkan_open(&d, "vulkan", 32, &none)) nn_device_close(d);
        snprintf(line, sizeof line, "no Vulkan device: %s", none.text);
        each(user, line);
    }
    code = nn_device_open(&d, "auto", 0, e);
    if (code) return code;
    snprintf(line, sizeof line, "auto takes %s", d->name);
    each(user, line);
    nn_device_close(d);
    return NN_OK;
}
