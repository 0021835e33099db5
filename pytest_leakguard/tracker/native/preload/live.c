#define _GNU_SOURCE
#include "live.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../pages.h"
#include "cells.h"
#include "mappings.h"
#include "traces.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18 /* linux/mman.h, since Linux 4.14 */
#endif
#define PATH_BYTES 256
#define OWN_BYTES 4096
#define SPINS_BEFORE_YIELD 100

static Own first_own; /* until there is a page that a fork wipes */
static _Atomic uint32_t no_epoch[2];

Own *live_own = &first_own;
atomic_bool live_is_on = true;
_Atomic uint32_t *live_epoch_at = no_epoch;
/* Nothing lies at the place of no page. */
FAST_THREAD_LOCAL Thread live_thread = {.known = {[0 ... KNOWN_PAGES - 1] = {UINTPTR_MAX, NULL}}};

static Live *live;
static char directory[PATH_BYTES];
static pthread_key_t at_thread_end;
static bool has_key;
/* Kept here as well: a child's file begins with what its parent held. */
static _Atomic int64_t own_bytes;
static Sight sight;
static bool has_python;

void live_lock(atomic_bool *lock) {
    while (atomic_exchange_explicit(lock, true, memory_order_acquire)) {
        int saved_errno = errno;
        for (int spin = 0; spin < SPINS_BEFORE_YIELD; spin++)
            if (!atomic_load_explicit(lock, memory_order_relaxed)) break;
        sched_yield();
        errno = saved_errno;
    }
}

void live_unlock(atomic_bool *lock) { atomic_store_explicit(lock, false, memory_order_release); }

/* ---- the files. Raw calls for mappings: the functions are our own here. */

static void *map_shared(int file, size_t size_bytes, int protection) {
    void *start = (void *)syscall(SYS_mmap, NULL, size_bytes, protection, MAP_SHARED, file, 0L);
    return (intptr_t)start == -1 ? NULL : start;
}

static bool path_of(const char *name, char *path) {
    size_t length = strlen(directory), more = strlen(name) + 1;
    if (!length || length + 1 + more > PATH_BYTES) return false;
    memcpy(path, directory, length);
    path[length] = '/';
    memcpy(path + length + 1, name, more);
    return true;
}

/* Without snprintf, which may allocate. */
static void write_number(unsigned long number, char *text) {
    char digits[24];
    size_t count = 0;
    do digits[count++] = (char)('0' + number % 10);
    while (number /= 10);
    while (count) *text++ = digits[--count];
    *text = 0;
}

static bool own_path(char *path) {
    char name[24];
    write_number((unsigned long)getpid(), name);
    return path_of(name, path);
}

static bool open_control(void) {
    char path[PATH_BYTES];
    if (!path_of("control", path)) return false;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0) return false;
    void *start = map_shared(file, 2 * sizeof(_Atomic uint32_t), PROT_READ);
    close(file);
    if (!start) return false;
    live_epoch_at = start;
    return true;
}

/* A larger file would end the process by SIGXFSZ. */
static bool may_be_so_large(size_t size_bytes) {
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur >= size_bytes;
}

/* A new file even where there is one: whoever reads that one must not find it cut off. */
static Live *create_live(void) {
    char path[PATH_BYTES];
    if (!own_path(path) || !may_be_so_large(sizeof(Live))) return NULL;
    unlink(path);
    int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0) return NULL;
    Live *created = ftruncate(file, sizeof(Live)) == 0
                        ? map_shared(file, sizeof(Live), PROT_READ | PROT_WRITE)
                        : NULL;
    close(file);
    if (!created) unlink(path);
    return created;
}

static void fill(Live *created, bool is_child) {
    created->pid = getpid();
    created->first_epoch = is_child ? live_epoch() : 0;
    atomic_store(&created->sight, (uint32_t)sight);
    atomic_store(&created->has_python, has_python);
    atomic_store(&created->own_bytes, (uint64_t)own_bytes);
    created->cells_root = (uint64_t)(uintptr_t)cells_root;
    created->traces = (uint64_t)(uintptr_t)&traces;
    created->version = LIVE_VERSION;
    atomic_thread_fence(memory_order_release);
    created->magic = LIVE_MAGIC;
}

/* ---- attaching */

static Own *wiped_page(void) {
    Own *page = pages_map(OWN_BYTES);
    if (!page) return NULL;
    madvise(page, OWN_BYTES, MADV_WIPEONFORK); /* older kernels: the fork handler does it */
    return page;
}

static bool start_counting(void) {
    const char *given = getenv("LEAKGUARD_LIVE");
    if (!given || strlen(given) >= PATH_BYTES) return false;
    memcpy(directory, given, strlen(given) + 1);
    return open_control() && (live = create_live()) != NULL;
}

/* The inherited mapping is the parent's. */
static bool continue_in_child(void) {
    Live *parent = live;
    live = create_live();
    pages_unmap(parent, sizeof(Live));
    mappings_forget_lock();
    traces_forget_lines();
    return live != NULL;
}

static bool attach_locked(void) {
    bool is_child = live != NULL;
    live_thread.stripe = NULL;
    if (!(is_child ? continue_in_child() : start_counting())) {
        atomic_store(&live_is_on, false);
        return false;
    }
    fill(live, is_child);
    return true;
}

bool live_attach(void) {
    int saved_errno = errno;
    live_thread.depth++;
    live_lock(&live_own->attaching);
    Own *own = live_own;
    bool is_attached = atomic_load(&own->is_attached);
    if (!is_attached) {
        is_attached = atomic_load(&live_is_on) && attach_locked();
        if (is_attached && own == &first_own) {
            Own *page = wiped_page();
            if (page) {
                atomic_store(&page->is_attached, 1);
                live_own = page; /* the first one stays locked, as nobody uses it any more */
            }
        }
        if (is_attached) atomic_store_explicit(&live_own->is_attached, 1, memory_order_release);
    }
    if (own == live_own) live_unlock(&own->attaching);
    live_thread.depth--;
    errno = saved_errno;
    return is_attached;
}

/* ---- threads */

static void leave_stripe(void *unused) {
    (void)unused;
    Totals *stripe = live_thread.stripe;
    if (!stripe) return;
    live_flush();
    if (live_thread.is_shared) return;
    live_thread.is_shared = true; /* what is freed later in this thread's end */
    live_thread.stripe = live->totals[0];
    size_t at = (size_t)(stripe - live->totals[0]) / EPOCHS;
    atomic_store_explicit(&live_own->taken[at], false, memory_order_release);
}

static void note_used(uint32_t stripes) {
    uint32_t used = atomic_load(&live->stripes_used);
    while (used < stripes && !atomic_compare_exchange_weak(&live->stripes_used, &used, stripes)) {}
}

static size_t free_stripe(void) {
    for (size_t at = 1; has_key && at < STRIPES; at++) {
        bool expected = false;
        if (atomic_load_explicit(&live_own->taken[at], memory_order_relaxed)) continue;
        if (atomic_compare_exchange_strong(&live_own->taken[at], &expected, true)) return at;
    }
    return 0;
}

void live_take_stripe(void) {
    int saved_errno = errno;
    size_t at = free_stripe();
    note_used((uint32_t)at + 1);
    live_thread.is_shared = at == 0;
    live_thread.stripe = live->totals[at];
    if (at != 0) {
        live_thread.depth++; /* it may allocate */
        pthread_setspecific(at_thread_end, live_thread.stripe);
        live_thread.depth--;
    }
    errno = saved_errno;
}

void live_flush(void) {
    int64_t amount = live_thread.unflushed;
    live_thread.unflushed = 0;
    int64_t now = atomic_fetch_add(&live->live_bytes, amount) + amount;
    int64_t peak = atomic_load(&live->peak_bytes);
    while (now > peak && !atomic_compare_exchange_weak(&live->peak_bytes, &peak, now)) {}
}

/* ---- notes for the reader */

void live_note_own(int64_t size_bytes) {
    own_bytes += size_bytes;
    if (live) atomic_store(&live->own_bytes, (uint64_t)own_bytes);
}

void live_note_lost(void) {
    if (live) atomic_fetch_add(&live->lost, 1);
}

void live_note_python(void) {
    has_python = true;
    if (live) atomic_store(&live->has_python, 1);
}

void live_note_sight(Sight seen) {
    sight = seen;
    if (live) atomic_store(&live->sight, (uint32_t)seen);
}

/* ---- the process's beginning, forks, and end */

/* At once, before the child gives up its rights or closes its doors. */
static void after_fork_in_child(void) {
    if (!atomic_load(&live_is_on) || !live || live->pid == getpid()) return;
    memset(live_own, 0, sizeof(Own)); /* where the kernel has not wiped it */
    live_attach();
}

__attribute__((constructor)) static void begin(void) {
    live_thread.depth++;
    has_key = pthread_key_create(&at_thread_end, leave_stripe) == 0;
    pthread_atfork(NULL, NULL, after_fork_in_child);
    live_thread.depth--;
    /* A library that began before us has allocated, and had to share: now there is one of our own. */
    if (live_thread.is_shared) live_thread.stripe = NULL;
    live_counts();
}

/* What is freed after this is still counted, in a file that nobody finds. */
__attribute__((destructor)) static void end(void) {
    char path[PATH_BYTES];
    if (live && live->pid == getpid() && own_path(path)) unlink(path);
}
