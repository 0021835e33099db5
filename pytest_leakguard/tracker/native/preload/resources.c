/* The functions that open descriptors, start threads and start processes: passed on to those behind
   them, and noted with their calls while somebody asks who leaks such things. All that is looked up
   is looked up at the beginning, as these are called in signal handlers and between fork and exec. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "functions.h"
#include "live.h"
#include "traces.h"

#define CALL(name) ((__typeof__(&name))next_##name)

#define FOR_EACH(do)                                                                               \
    do(open) do(openat) do(creat) do(fopen) do(opendir) do(tmpfile) do(mkstemp) do(mkostemp)       \
    do(socket) do(socketpair) do(accept) do(accept4) do(pipe) do(pipe2) do(dup)                    \
    do(epoll_create) do(epoll_create1) do(eventfd) do(timerfd_create) do(inotify_init)             \
    do(inotify_init1) do(pthread_create) do(fork) do(posix_spawn) do(posix_spawnp) do(popen)

#ifdef __GLIBC__
int __open_2(const char *, int);
int __open64_2(const char *, int);
#define FOR_EACH_OF_GLIBC(do)                                                                      \
    do(open64) do(openat64) do(creat64) do(fopen64) do(tmpfile64) do(mkstemp64) do(mkostemp64)     \
    do(memfd_create) do(__open_2) do(__open64_2)
#else
#define FOR_EACH_OF_GLIBC(do)
#endif

#define DECLARE(name) static void *next_##name;
FOR_EACH(DECLARE)
FOR_EACH_OF_GLIBC(DECLARE)

#ifdef __GLIBC__
typedef __SOCKADDR_ARG Peer; /* a union of all kinds of addresses */
#else
typedef struct sockaddr *Peer;
#endif

static atomic_bool are_found;

/* Also called by what begins before this library; by one thread alone, or with the same result. */
__attribute__((constructor)) static void find_all(void) {
#define FIND(name) next_##name = next_function(#name);
    FOR_EACH(FIND)
    FOR_EACH_OF_GLIBC(FIND)
    atomic_store(&are_found, true);
}

#define READY()                                                                                    \
    do {                                                                                           \
        if (UNLIKELY(!atomic_load_explicit(&are_found, memory_order_acquire))) find_all();         \
    } while (0)

static bool is_wanted(void) { return live_thread.depth == 0 && live_is_traced() && live_counts(); }

static int opened(int file) {
    if (UNLIKELY(file >= 0 && is_wanted())) traces_descriptor(file);
    return file;
}

static FILE *opened_stream(FILE *stream) {
    if (stream) opened(fileno(stream));
    return stream;
}

static int opened_both(int result, const int files[2]) {
    if (result == 0) {
        opened(files[0]);
        opened(files[1]);
    }
    return result;
}

static pid_t started(pid_t child) {
    if (UNLIKELY(child > 0 && is_wanted())) traces_child(child);
    return child;
}

/* ---- files */

#define MODE(flags)                                                                                \
    mode_t mode = 0;                                                                               \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                         \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        mode = va_arg(more, mode_t);                                                               \
        va_end(more);                                                                              \
    }                                                                                              \
    READY()

PUBLIC int open(const char *path, int flags, ...) {
    MODE(flags);
    return opened(CALL(open)(path, flags, mode));
}

PUBLIC int openat(int folder, const char *path, int flags, ...) {
    MODE(flags);
    return opened(CALL(openat)(folder, path, flags, mode));
}

#define PASS(type, after, name, parameters, arguments)                                             \
    PUBLIC type name parameters {                                                                  \
        READY();                                                                                   \
        return after(CALL(name) arguments);                                                        \
    }

PASS(int, opened, creat, (const char *path, mode_t mode), (path, mode))
PASS(FILE *, opened_stream, fopen, (const char *path, const char *mode), (path, mode))
PASS(FILE *, opened_stream, tmpfile, (void), ())
PASS(int, opened, mkstemp, (char *template), (template))
PASS(int, opened, mkostemp, (char *template, int flags), (template, flags))

PUBLIC DIR *opendir(const char *path) {
    READY();
    DIR *folder = CALL(opendir)(path);
    if (folder) opened(dirfd(folder));
    return folder;
}

#ifdef __GLIBC__
PUBLIC int open64(const char *path, int flags, ...) {
    MODE(flags);
    return opened(CALL(open64)(path, flags, mode));
}

PUBLIC int openat64(int folder, const char *path, int flags, ...) {
    MODE(flags);
    return opened(CALL(openat64)(folder, path, flags, mode));
}

/* What calls without a mode become where the compiler checks them. */
PASS(int, opened, __open_2, (const char *path, int flags), (path, flags))
PASS(int, opened, __open64_2, (const char *path, int flags), (path, flags))
PASS(int, opened, creat64, (const char *path, mode_t mode), (path, mode))
PASS(FILE *, opened_stream, fopen64, (const char *path, const char *mode), (path, mode))
PASS(FILE *, opened_stream, tmpfile64, (void), ())
PASS(int, opened, mkstemp64, (char *template), (template))
PASS(int, opened, mkostemp64, (char *template, int flags), (template, flags))
PASS(int, opened, memfd_create, (const char *name, unsigned flags), (name, flags))
#endif

/* ---- sockets, pipes and what else is a descriptor */

PASS(int, opened, socket, (int domain, int type, int protocol), (domain, type, protocol))
PASS(int, opened, dup, (int file), (file))
PASS(int, opened, epoll_create, (int size), (size))
PASS(int, opened, epoll_create1, (int flags), (flags))
PASS(int, opened, eventfd, (unsigned count, int flags), (count, flags))
PASS(int, opened, timerfd_create, (clockid_t clock, int flags), (clock, flags))
PASS(int, opened, inotify_init, (void), ())
PASS(int, opened, inotify_init1, (int flags), (flags))

PUBLIC int accept(int listener, Peer peer, socklen_t *length) {
    READY();
    return opened(CALL(accept)(listener, peer, length));
}

PUBLIC int accept4(int listener, Peer peer, socklen_t *length, int flags) {
    READY();
    return opened(CALL(accept4)(listener, peer, length, flags));
}

PUBLIC int socketpair(int domain, int type, int protocol, int files[2]) {
    READY();
    return opened_both(CALL(socketpair)(domain, type, protocol, files), files);
}

PUBLIC int pipe(int files[2]) {
    READY();
    return opened_both(CALL(pipe)(files), files);
}

PUBLIC int pipe2(int files[2], int flags) {
    READY();
    return opened_both(CALL(pipe2)(files, flags), files);
}

/* ---- threads and processes */

PUBLIC int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*run)(void *), void *argument) {
    READY();
    int error = CALL(pthread_create)(thread, attributes, run, argument);
    if (UNLIKELY(!error && is_wanted())) traces_thread();
    return error;
}

PASS(pid_t, started, fork, (void), ())

#define SPAWN(name)                                                                                \
    PUBLIC int name(pid_t *child, const char *program, const posix_spawn_file_actions_t *actions,  \
                    const posix_spawnattr_t *attributes, char *const words[],                      \
                    char *const environment[]) {                                                   \
        READY();                                                                                   \
        pid_t number = 0;                                                                          \
        int error = CALL(name)(&number, program, actions, attributes, words, environment);         \
        if (!error && child) *child = number;                                                      \
        if (!error) started(number);                                                               \
        return error;                                                                              \
    }

SPAWN(posix_spawn)
SPAWN(posix_spawnp)

/* Its child ends with the stream, which is what leaks. */
PASS(FILE *, opened_stream, popen, (const char *command, const char *mode), (command, mode))
