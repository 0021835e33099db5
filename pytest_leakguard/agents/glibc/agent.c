/* Tells the live heap of this process (mallinfo2) over a private socket. Preloaded; forked children start their own. */
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int listener = -1;

static void *serve(void *unused)
{
    (void)unused;
    char text[64];
    for (;;) {
        int caller = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (caller < 0)
            return NULL;
        if (read(caller, text, sizeof text) > 0) {
            struct mallinfo2 info = mallinfo2();
            int length = snprintf(text, sizeof text, "%zu\n", info.uordblks + info.hblkhd);
            if (send(caller, text, (size_t)length, MSG_NOSIGNAL) < 0) { /* the asker has gone */ }
        }
        close(caller);
    }
}

static void start(void)
{
    const char *directory = getenv("LEAKGUARD_AGENT");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    pthread_t thread;
    sigset_t all, kept;
    if (listener >= 0)
        close(listener); /* the parent's */
    listener = -1;
    if (!directory || strlen(directory) > 80)
        return;
    snprintf(address.sun_path, sizeof address.sun_path, "%s/%ld.sock", directory, (long)getpid());
    unlink(address.sun_path);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0)
        return;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &kept); /* the service's signals are not ours to take */
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4)
        || pthread_create(&thread, NULL, serve, NULL)) {
        close(listener);
        listener = -1;
    } else {
        pthread_detach(thread);
    }
    pthread_sigmask(SIG_SETMASK, &kept, NULL);
}

__attribute__((constructor)) static void begin(void)
{
    pthread_atfork(NULL, NULL, start);
    start();
}
