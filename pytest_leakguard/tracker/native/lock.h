/* A lock that may be taken inside an allocator: it allocates nothing and keeps errno.

   It leans towards one thread, its owner, who takes it without an atomic exchange: that costs more
   than all the rest of entering a block. Another thread first ends this (membarrier, some
   microseconds, at most once per armed run). Where the kernel has no membarrier it never leans. */
#ifndef LEAKGUARD_LOCK_H
#define LEAKGUARD_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    atomic_bool is_taken;
    /* The owner may take it by `is_owner_inside` alone. */
    atomic_bool is_leaning;
    /* Written by the owner only. */
    atomic_bool is_owner_inside;
    /* The first thread that asked for it, for good. 0: none yet. */
    _Atomic uintptr_t owner;
} Lock;

typedef enum { LOCK_BY_EXCHANGE, LOCK_BY_OWNER } LockWay;

/* Spins shortly, then yields the processor until the lock is free. */
void lock_wait(Lock *lock);
/* Until the owner is outside and will stay there. The caller holds the lock. */
void lock_stop_leaning(Lock *lock);
/* From now on the lock leans towards its owner, if `thread` is it. The caller holds the lock, and by
   exchange: else another thread may just be ending it. */
void lock_lean(Lock *lock, uintptr_t thread);
/* In a forked child: nobody holds it. */
void lock_renew(Lock *lock);

/* No thread: for a lock that never leans. */
#define LOCK_WITHOUT_OWNER UINTPTR_MAX

static inline LockWay lock_take(Lock *lock, uintptr_t thread) {
    if (thread == atomic_load_explicit(&lock->owner, memory_order_relaxed)) {
        atomic_store_explicit(&lock->is_owner_inside, true, memory_order_relaxed);
        /* The processor may swap this store and the next load: membarrier sees to it that it
           does not where it matters. The compiler must not either. */
        atomic_signal_fence(memory_order_seq_cst);
        if (atomic_load_explicit(&lock->is_leaning, memory_order_acquire)) return LOCK_BY_OWNER;
        atomic_store_explicit(&lock->is_owner_inside, false, memory_order_release);
    }
    if (atomic_exchange_explicit(&lock->is_taken, true, memory_order_acquire)) lock_wait(lock);
    if (atomic_load_explicit(&lock->is_leaning, memory_order_relaxed)) lock_stop_leaning(lock);
    return LOCK_BY_EXCHANGE;
}

static inline void lock_release(Lock *lock, LockWay way) {
    atomic_bool *held = way == LOCK_BY_OWNER ? &lock->is_owner_inside : &lock->is_taken;
    atomic_store_explicit(held, false, memory_order_release);
}

/* Called now and then by a waiting thread. Returns true when the owner cannot exist any more: the
   process was forked while another thread held the lock. The waiter then owns it. NULL: never. */
extern bool (*lock_is_orphaned)(void);

#endif
