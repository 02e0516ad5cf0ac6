/* interrupt.c - Ctrl-C, a closed terminal, a polite kill.
 *
 * The first signal only sets a flag, which the conversion asks at every progress report; the loop then tidies
 * up. A second one ends the program at once, but not without removing the temporary file. Only
 * async-signal-safe calls in here. */
#include "convert.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <limits.h>

static volatile sig_atomic_t pending;
static volatile sig_atomic_t watching;
static char watched[PATH_MAX];

static void on_signal(int number) {
    if (!pending) {
        pending = number;
        return;
    }
    if (watching) unlink(watched);
    _exit(128 + number);
}

void convert_interrupt_install(void) {
    static const int asked_to_stop[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction before, action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = on_signal;
    for (size_t i = 0; i < sizeof asked_to_stop / sizeof *asked_to_stop; i++) {
        // under nohup SIGHUP is ignored, and must stay so
        bool ignored = sigaction(asked_to_stop[i], NULL, &before) == 0 && before.sa_handler == SIG_IGN;
        if (!ignored || asked_to_stop[i] != SIGHUP) sigaction(asked_to_stop[i], &action, NULL);
    }
    action.sa_handler = SIG_IGN; // a write that fails is told as an error, not by death with a temporary left
    sigaction(SIGPIPE, &action, NULL);
    sigaction(SIGXFSZ, &action, NULL);
}

int convert_interrupted(void) {
    return pending;
}

void convert_interrupt_watch(const char *temporary) {
    watching = 0;
    if (!temporary || strlen(temporary) >= sizeof watched) return;
    memcpy(watched, temporary, strlen(temporary) + 1);
    watching = 1;
}
