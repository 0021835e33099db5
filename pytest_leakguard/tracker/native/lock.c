#define _GNU_SOURCE
#include "lock.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/syscall.h>
#endif

/* The lock is held for some ten nanoseconds; a hundred looks cover that several times. */
#define SPINS_BEFORE_YIELD 100
/* Asking whether the process was forked is a system call: not at every round. */
#define YIELDS_BEFORE_ASKING 64

/* Of linux/membarrier.h, since Linux 4.14. */
#define PRIVATE_EXPEDITED (1 << 3)
#define REGISTER_PRIVATE_EXPEDITED (1 << 4)

bool (*lock_is_orphaned)(void);

/* ThreadSanitizer does not know membarrier and would report what it orders. */
#if defined(SYS_membarrier) && !defined(__SANITIZE_THREAD__)
static bool membarrier(int command) {
    int saved_errno = errno;
    bool is_done = syscall(SYS_membarrier, command, 0, 0) == 0;
    errno = saved_errno;
    return is_done;
}
#else
static bool membarrier(int command) {
    (void)command;
    return false;
}
#endif

static inline void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static bool becomes_false(atomic_bool *flag) {
    for (int spin = 0; spin < SPINS_BEFORE_YIELD; spin++) {
        if (!atomic_load_explicit(flag, memory_order_acquire)) return true;
        pause_briefly();
    }
    return false;
}

void lock_wait(Lock *lock) {
    int saved_errno = errno;
    for (unsigned round = 1;; round++) {
        if (becomes_false(&lock->is_taken) &&
            !atomic_exchange_explicit(&lock->is_taken, true, memory_order_acquire))
            break;
        if (round % YIELDS_BEFORE_ASKING == 0 && lock_is_orphaned && lock_is_orphaned()) {
            atomic_store(&lock->is_taken, true);
            break;
        }
        sched_yield();
    }
    errno = saved_errno;
}

void lock_stop_leaning(Lock *lock) {
    int saved_errno = errno;
    atomic_store(&lock->is_leaning, false);
    membarrier(PRIVATE_EXPEDITED); /* the owner now sees it, or we see the owner inside */
    while (!becomes_false(&lock->is_owner_inside)) {
        if (lock_is_orphaned && lock_is_orphaned()) {
            atomic_store(&lock->is_taken, true);
            break;
        }
        sched_yield();
    }
    errno = saved_errno;
}

void lock_lean(Lock *lock, uintptr_t thread) {
    uintptr_t owner = atomic_load_explicit(&lock->owner, memory_order_relaxed);
    if (owner != 0 && owner != thread) return;
    if (owner == 0) {
        if (!membarrier(REGISTER_PRIVATE_EXPEDITED)) return;
        atomic_store(&lock->owner, thread);
    }
    atomic_store(&lock->is_leaning, true);
}

void lock_renew(Lock *lock) {
    atomic_store(&lock->is_leaning, false);
    atomic_store(&lock->is_owner_inside, false);
    atomic_store(&lock->owner, 0); /* the next one registers anew */
    atomic_store(&lock->is_taken, false);
}
