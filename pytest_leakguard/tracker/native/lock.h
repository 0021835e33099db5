/* A lock that may be taken inside an allocator: it allocates nothing and keeps errno. */
#ifndef LEAKGUARD_LOCK_H
#define LEAKGUARD_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>

typedef struct {
    atomic_bool is_taken;
} Lock;

/* Spins shortly, then yields the processor until the lock is free. */
void lock_wait(Lock *lock);

static inline void lock_take(Lock *lock) {
    if (atomic_exchange_explicit(&lock->is_taken, true, memory_order_acquire)) lock_wait(lock);
}

static inline void lock_release(Lock *lock) {
    atomic_store_explicit(&lock->is_taken, false, memory_order_release);
}

/* Called now and then by a waiting thread. Returns true when the owner cannot exist any more: the
   process was forked while another thread held the lock. The waiter then owns it. NULL: never. */
extern bool (*lock_is_orphaned)(void);

#endif
