/* test_layers.c - dependencies run one way, and a test over #include lines keeps it so.
 *
 *   convert -> tools -> rvc -> rmvpe, mel -> nn        benchmarks -> rvc, rmvpe, mel, nn
 *
 * A model (mel, rmvpe, rvc) sees nn's graph API and nothing of a back end or of graph nodes; a back end knows
 * ops and nothing of models; tools do not know the program that calls them; rvc.h, the public header, stands
 * alone. */
#include "check.h"

#include <dirent.h>
#include <stdbool.h>

/* What files of a folder may include besides their own folder's (folders, or single files), and which of that is still kept
 * from them. */
typedef struct layer {
    const char *folder;
    const char *may[7];
    const char * not [4];
} layer;

static const layer layers[] = {
    {"nn/cpu", {"nn"}, {0}},
    {"nn/vulkan", {"nn", "nn/cpu/conv_fold.h"}, {0}},
    {"nn", {"nn/cpu", "nn/vulkan/vulkan.h"}, {0}},
    {"mel", {"nn"}, {"nn/cpu", "nn/vulkan", "nn/graph.h", "nn/build.h"}},
    {"rmvpe", {"nn"}, {"nn/cpu", "nn/vulkan", "nn/graph.h", "nn/build.h"}},
    {"rvc", {"rmvpe", "mel", "nn"}, {"nn/cpu", "nn/vulkan", "nn/graph.h", "nn/build.h"}},
    {"tools", {"rvc", "rmvpe", "mel", "nn"}, {"nn/graph.h", "nn/build.h"}},
    {"convert", {"tools", "rvc", "rmvpe", "mel", "nn"}, {"nn/graph.h", "nn/build.h"}},
    {"benchmarks", {"rvc", "rmvpe", "mel", "nn", "nn/vulkan/vulkan.h"}, {"nn/graph.h", "nn/build.h"}},
};
enum { LAYERS = sizeof layers / sizeof *layers, PATH = 512 };

/* path is folder itself or something in or under it. */
static bool is_under(const char *path, const char *folder) {
    size_t n = strlen(folder);
    return strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* The layer whose folder holds `path`; the table lists inner folders first. */
static const layer *layer_of(const char *path) {
    for (int i = 0; i < LAYERS; i++)
        if (is_under(path, layers[i].folder)) return &layers[i];
    return NULL;
}

/* NULL when `file` may include `target` (both from the root), else why not. */
static const char *why_not(const char *file, const char *target) {
    const layer *from = layer_of(file), *to = layer_of(target);
    if (!from) return "is in no layer";
    if (!to) return "includes a file of no layer";
    if (strcmp(file, "rvc/rvc.h") == 0) return "is public and must stand alone";
    for (size_t i = 0; i < sizeof from->not / sizeof *from->not &&from->not [i]; i++)
        if (is_under(target, from->not [i])) return "reaches into the engine";
    if (from == to) return NULL;
    for (size_t i = 0; i < sizeof from->may / sizeof *from->may && from->may[i]; i++)
        if (strcmp(to->folder, from->may[i]) == 0 || strcmp(target, from->may[i]) == 0) return NULL;
    return "goes against the order of layers";
}

/* dir/name with every "x/.." taken out, into out [PATH]; the included file as seen from the root. */
static void resolve(const char *file, const char *name, char *out) {
    const char *slash = strrchr(file, '/');
    size_t n = slash ? (size_t)(slash - file) : 0;
    assert_true(n + strlen(name) + 2 < PATH);
    memcpy(out, file, n);
    for (const char *part = name; *part;) {
        size_t length = strcspn(part, "/");
        if (length == 2 && strncmp(part, "..", 2) == 0) {
            while (n && out[n - 1] != '/') n--;
            n -= n > 0;
        } else {
            if (n) out[n++] = '/';
            memcpy(out + n, part, length);
            n += length;
        }
        part += length + (part[length] == '/');
    }
    out[n] = '\0';
}

typedef struct tally {
    int files, includes, wrong;
} tally;

/* Every #include "..." line of one source. Angle brackets are the system's and libraries'. */
static void check_file(const char *path, tally *t) {
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char line[1024], name[PATH], target[PATH];
    for (int number = 1; fgets(line, sizeof line, file); number++) {
        if (sscanf(line, " # include \"%500[^\"]\"", name) != 1) continue;
        resolve(path, name, target);
        const char *reason =
            access(target, R_OK) == 0 ? why_not(path, target) : "includes a file that is not there";
        if (reason) print_error("%s:%d: #include \"%s\": %s\n", path, number, name, reason);
        t->wrong += reason != NULL;
        t->includes++;
    }
    fclose(file);
    t->files++;
}

static void walk(const char *folder, tally *t) {
    DIR *dir = opendir(folder);
    if (!dir) return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[PATH];
        struct stat info;
        const char *dot = strrchr(entry->d_name, '.');
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
            walk(path, t);
        else if (dot && (strcmp(dot, ".c") == 0 || strcmp(dot, ".h") == 0))
            check_file(path, t);
    }
    closedir(dir);
}

static void test_sources_keep_the_order(void **state) {
    (void)state;
    for (int i = 0; i < LAYERS; i++) {
        if (strchr(layers[i].folder, '/')) continue; /* reached from its parent */
        tally t = {0};
        walk(layers[i].folder, &t);
        print_message("%-10s %3d files %4d includes %d wrong\n", layers[i].folder, t.files, t.includes,
                      t.wrong);
        assert_int_not_equal(t.files, 0);
        assert_int_not_equal(t.includes, 0);
        assert_int_equal(t.wrong, 0);
    }
}

/* The rules themselves: what is wrong is found wrong, what is right is let through. */
static void test_rules_tell_right_from_wrong(void **state) {
    (void)state;
    assert_null(why_not("convert/main.c", "rvc/rvc.h"));
    assert_null(why_not("convert/main.c", "tools/tools.h"));
    assert_null(why_not("rvc/hubert.c", "nn/nn.h"));
    assert_null(why_not("nn/cpu/conv.c", "nn/graph.h"));
    assert_null(why_not("nn/vulkan/conv.c", "nn/graph.h"));
    assert_null(why_not("nn/vulkan/conv_weights.c", "nn/cpu/conv_fold.h"));
    assert_null(why_not("nn/device.c", "nn/vulkan/vulkan.h"));
    assert_non_null(why_not("rvc/rvc.h", "rvc/signal.h"));
    assert_non_null(why_not("rvc/hubert.c", "nn/graph.h"));
    assert_non_null(why_not("rmvpe/network.c", "nn/cpu/kernel.h"));
    assert_non_null(why_not("mel/mel.c", "rmvpe/rmvpe.h"));
    assert_non_null(why_not("nn/vulkan/conv.c", "nn/cpu/kernel.h"));
    assert_non_null(why_not("nn/vulkan/conv.c", "rvc/rvc.h"));
    assert_non_null(why_not("nn/cpu/conv.c", "nn/vulkan/op.h"));
    assert_non_null(why_not("nn/plan.c", "nn/vulkan/device.h"));
    assert_non_null(why_not("rvc/models.c", "nn/vulkan/vulkan.h"));
    assert_non_null(why_not("rmvpe/network.c", "rvc/signal.h"));
    assert_non_null(why_not("nn/cpu/conv.c", "rvc/rvc.h"));
    assert_non_null(why_not("nn/plan.c", "rmvpe/rmvpe.h"));
    assert_non_null(why_not("tools/info.c", "convert/convert.h"));
    assert_non_null(why_not("rvc/pipeline.c", "tools/tools.h"));
    assert_non_null(why_not("convert/main.c", "tests/check.h"));
}

static void test_paths_resolve(void **state) {
    (void)state;
    char out[PATH];
    resolve("rvc/hubert.c", "../nn/nn.h", out);
    assert_string_equal(out, "nn/nn.h");
    resolve("nn/cpu/conv.c", "../../rvc/rvc.h", out);
    assert_string_equal(out, "rvc/rvc.h");
    resolve("nn/cpu/conv.c", "vector.h", out);
    assert_string_equal(out, "nn/cpu/vector.h");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sources_keep_the_order),
        cmocka_unit_test(test_rules_tell_right_from_wrong),
        cmocka_unit_test(test_paths_resolve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
