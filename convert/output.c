/* output.c - a file that is either whole or not there.
 *
 * It is written under a temporary name in the output's own folder (a rename across file systems would not be
 * one step) and renamed at the end. Invariant: after commit or discard no temporary is left. */
#include "convert.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* mkdir -p: makes `folder` up to each of its slashes in turn. */
rvc_status convert_folder_make(const char *path, rvc_error *e) {
    char *folder = convert_text("%s", path);
    if (!folder) return convert_fail(e, RVC_ERROR_MEMORY, "out of memory");
    rvc_status status = RVC_OK;
    for (char *slash = folder + 1; !status && *folder; slash++) {
        if (*slash && *slash != '/') continue;
        bool last = !*slash;
        *slash = 0;
        if (mkdir(folder, 0777) != 0 && !convert_path_is_folder(folder))
            status = convert_fail(e, RVC_ERROR_FILE, "cannot make the folder %s: %s", folder,
                                  errno == EEXIST ? strerror(ENOTDIR) : strerror(errno));
        if (last) break;
        *slash = '/';
    }
    free(folder);
    return status;
}

/* The part of `path` before its name, with the slash; "" where there is none. */
static char *folder_of(const char *path) {
    return convert_text("%.*s", (int)(convert_path_name(path) - path), path);
}

rvc_status convert_output_open(convert_output *o, const char *path, rvc_error *e) {
    static atomic_uint serial;
    *o = (convert_output){.fd = -1, .watched = -1};
    char *folder = folder_of(path);
    o->path = convert_text("%s", path);
    rvc_status status = folder && o->path ? RVC_OK : convert_fail(e, RVC_ERROR_MEMORY, "out of memory");
    if (!status && *folder) status = convert_folder_make(folder, e);
    // A name that a killed run of the same process number left behind is stepped over.
    for (int attempt = 0; !status && o->fd < 0 && attempt < 1000; attempt++) {
        free(o->temporary);
        o->temporary =
            convert_text("%s.rvc-%ld-%u.part", folder, (long)getpid(), atomic_fetch_add(&serial, 1));
        if (!o->temporary) {
            status = convert_fail(e, RVC_ERROR_MEMORY, "out of memory");
            break;
        }
        o->fd = open(o->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (o->fd < 0 && errno != EEXIST) break;
    }
    if (!status && o->fd < 0)
        status = convert_fail(e, RVC_ERROR_FILE, "cannot write %s: %s", path, strerror(errno));
    free(folder);
    if (status)
        convert_output_discard(o);
    else
        o->watched = convert_interrupt_watch(o->temporary);
    return status;
}

rvc_status convert_output_commit(convert_output *o, rvc_error *e) {
    rvc_status status = RVC_OK;
    int closed = close(o->fd);
    o->fd = -1;
    if (closed != 0 || rename(o->temporary, o->path) != 0) {
        status = convert_fail(e, RVC_ERROR_FILE, "cannot write %s: %s", o->path, strerror(errno));
        unlink(o->temporary);
    }
    convert_interrupt_forget(o->watched);
    free(o->temporary);
    o->temporary = NULL;
    convert_output_discard(o);
    return status;
}

void convert_output_discard(convert_output *o) {
    if (o->fd >= 0) {
        close(o->fd);
        unlink(o->temporary);
        convert_interrupt_forget(o->watched);
    }
    free(o->temporary);
    free(o->path);
    *o = (convert_output){.fd = -1};
}
