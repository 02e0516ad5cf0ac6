/* interrupt.c - Ctrl-C, a closed terminal, a polite kill.
 *
 * The first signal only sets a flag, which the conversion asks at every progress report; the loop then tidies
 * up. A second one ends the program at once, but not without removing the temporary files. Only
 * async-signal-safe calls in here. */
#include "convert.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>
#include <limits.h>

enum { MOST_WATCHED = 2 * CONVERT_CREW, FREE = 0, TAKEN, WATCHED };

static volatile sig_atomic_t pending;
static struct {
    atomic_int state;
    char path[PATH_MAX];
} watch[MOST_WATCHED];

static void on_signal(int number) {
    if (!pending) {
        pending = number;
        return;
    }
    for (int i = 0; i < MOST_WATCHED; i++)
        if (atomic_load(&watch[i].state) == WATCHED) unlink(watch[i].path);
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

int convert_interrupt_watch(const char *temporary) {
    if (strlen(temporary) >= PATH_MAX) return -1;
    for (int i = 0; i < MOST_WATCHED; i++) {
        int expected = FREE;
        if (!atomic_compare_exchange_strong(&watch[i].state, &expected, TAKEN)) continue;
        memcpy(watch[i].path, temporary, strlen(temporary) + 1);
        atomic_store(&watch[i].state, WATCHED);
        return i;
    }
    return -1;
}

void convert_interrupt_forget(int watched) {
    if (watched >= 0) atomic_store(&watch[watched].state, FREE);
}
