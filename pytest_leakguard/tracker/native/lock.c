#include "lock.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>

/* The lock is held for some ten nanoseconds; a hundred looks cover that several times. */
#define SPINS_BEFORE_YIELD 100
/* Asking whether the process was forked is a system call: not at every round. */
#define YIELDS_BEFORE_ASKING 64

bool (*lock_is_orphaned)(void);

static inline void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static bool became_free(Lock *lock) {
    for (int spin = 0; spin < SPINS_BEFORE_YIELD; spin++) {
        if (!atomic_load_explicit(&lock->is_taken, memory_order_relaxed)) return true;
        pause_briefly();
    }
    return false;
}

void lock_wait(Lock *lock) {
    int saved_errno = errno;
    for (unsigned round = 1;; round++) {
        if (became_free(lock) &&
            !atomic_exchange_explicit(&lock->is_taken, true, memory_order_acquire))
            break;
        if (round % YIELDS_BEFORE_ASKING == 0 && lock_is_orphaned && lock_is_orphaned()) break;
        sched_yield();
    }
    errno = saved_errno;
}
