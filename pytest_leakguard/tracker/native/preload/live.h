/* What this process holds alive, by the epoch (request batch) that allocated it: in a mapping that
   the harness reads. The hooks report here.

   A file of its own for each process: DIRECTORY/PID, mode 0600, in the directory that the variable
   LEAKGUARD_LIVE names. DIRECTORY/control holds the current epoch, for all processes, with TRACED added
   while the calls are wanted that allocate, and the number of that tracing. Without the
   variable, and where a file cannot be made, nothing is counted and everything goes straight
   through. tracker/live.py reads the same layout: change LIVE_VERSION with it. */
#ifndef LEAKGUARD_LIVE_H
#define LEAKGUARD_LIVE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layout.h"

#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define PUBLIC __attribute__((visibility("default")))
/* Kept out of the functions that call it: they then need no stack frame where all is as usual. */
#define RARE __attribute__((noinline, cold))
#define OFTEN static inline __attribute__((always_inline))

/* Preloaded, so there is room for it in the static block: no call, and no allocation inside malloc. */
#define FAST_THREAD_LOCAL __thread __attribute__((tls_model("initial-exec")))

#define LIVE_MAGIC UINT32_C(0x4c474c56)
#define LIVE_VERSION 2
/* What a thread keeps to itself before it adds it to the process's sum. */
#define FLUSHED_BYTES ((int64_t)16384)
#define EPOCHS (1u << EPOCH_BITS)
/* Added to the epoch while stacks are taken, so that looking at the epoch shows both. */
#define TRACED (UINT32_C(1) << 31)
/* Threads beyond these share the first stripe, with atomic additions. */
#define STRIPES 64

typedef struct {
    _Atomic int64_t heap_bytes, heap_blocks, mapped_bytes, mappings;
} Totals;

typedef enum { SEES_ALL, HAS_OWN_MALLOC } Sight;

typedef struct {
    uint32_t magic, version;
    int32_t pid;
    /* Epochs up to this one began in the parent: their blocks are copies. */
    uint32_t first_epoch;
    _Atomic uint32_t sight;
    _Atomic uint32_t stripes_used;
    _Atomic uint32_t has_python;
    uint32_t reserved;
    /* Memory of the tracker's own. */
    _Atomic uint64_t own_bytes;
    /* Blocks that could not be entered for want of memory. */
    _Atomic uint64_t lost;
    /* Bytes in blocks, and the most there ever were, both to FLUSHED_BYTES for each thread. */
    _Atomic int64_t live_bytes, peak_bytes;
    /* Where the cells are, for whoever asks which blocks are still led to. */
    uint64_t cells_root;
    /* Where the stacks are of what is traced, which begin with a `Traces`. */
    uint64_t traces;
    uint8_t padding[4096 - 80];
    /* Of each thread, by epoch. Their sum over the threads is what is alive. */
    Totals totals[STRIPES][EPOCHS];
} Live;

/* Wiped by the kernel in a forked child, which thereby knows that it is one, whoever forked it. */
typedef struct {
    _Atomic uint32_t is_attached;
    atomic_bool attaching, growing, mapping, tracing;
    atomic_bool taken[STRIPES];
} Own;

/* Some of the pages of cells that the thread has used last, by their place in the address space. */
#define KNOWN_PAGES 16
typedef struct {
    uintptr_t place;
    void *cells;
} KnownPage;

/* In one piece, whose address is found once in each call. */
typedef struct {
    /* An allocator's own calls of another one are part of the outermost call. */
    int depth;
    bool is_shared;
    /* What is asked for meanwhile comes from memory of our own. */
    bool is_looking_up;
    /* NULL until the thread counts for the first time. */
    Totals *stripe;
    int64_t unflushed;
    KnownPage known[KNOWN_PAGES];
} Thread;

extern Own *live_own;
/* False: nothing is counted, for good. */
extern atomic_bool live_is_on;
extern FAST_THREAD_LOCAL Thread live_thread;
extern _Atomic uint32_t *live_epoch_at;

/* Makes this process's file, at the first call of a process. False: nothing can be counted. */
RARE bool live_attach(void);
RARE void live_take_stripe(void);
__attribute__((noinline)) void live_flush(void);
void live_note_own(int64_t size_bytes);
void live_note_lost(void);
void live_note_python(void);
void live_note_sight(Sight sight);

/* Whether to count at all: attaches a process that is new, or newly forked. */
OFTEN bool live_counts(void) {
    if (LIKELY(atomic_load_explicit(&live_own->is_attached, memory_order_acquire))) return true;
    return atomic_load_explicit(&live_is_on, memory_order_relaxed) && live_attach();
}

/* At least EPOCHS: it is traced, or too large. */
OFTEN uint32_t live_raw_epoch(void) {
    return atomic_load_explicit(live_epoch_at, memory_order_relaxed);
}

OFTEN uint32_t live_epoch_of(uint32_t raw) {
    uint32_t epoch = raw & ~TRACED;
    return epoch < EPOCHS ? epoch : EPOCHS - 1;
}

OFTEN uint32_t live_epoch(void) { return live_epoch_of(live_raw_epoch()); }

OFTEN bool live_is_traced(void) { return UNLIKELY(live_raw_epoch() & TRACED); }

/* The number of the tracing that goes on, or of the last one. */
OFTEN uint32_t live_tracing(void) {
    return atomic_load_explicit(live_epoch_at + 1, memory_order_relaxed);
}

OFTEN void live_add(Thread *thread, _Atomic int64_t *bytes, int64_t size_bytes,
                    _Atomic int64_t *number, int64_t more) {
    if (UNLIKELY(thread->is_shared)) {
        atomic_fetch_add_explicit(bytes, size_bytes, memory_order_relaxed);
        atomic_fetch_add_explicit(number, more, memory_order_relaxed);
        return;
    }
    /* Nobody else writes here. */
    int64_t bytes_before = atomic_load_explicit(bytes, memory_order_relaxed);
    int64_t number_before = atomic_load_explicit(number, memory_order_relaxed);
    atomic_store_explicit(bytes, bytes_before + size_bytes, memory_order_relaxed);
    atomic_store_explicit(number, number_before + more, memory_order_relaxed);
}

OFTEN void live_count_block(uint32_t epoch, int64_t size_bytes, int64_t blocks) {
    Thread *thread = &live_thread;
    if (UNLIKELY(!thread->stripe)) live_take_stripe();
    Totals *totals = &thread->stripe[epoch];
    live_add(thread, &totals->heap_bytes, size_bytes, &totals->heap_blocks, blocks);
    int64_t unflushed = thread->unflushed += size_bytes;
    if (UNLIKELY((uint64_t)(unflushed + FLUSHED_BYTES) > 2 * FLUSHED_BYTES)) live_flush();
}

static inline void live_count_mapping(uint32_t epoch, int64_t size_bytes, int64_t mappings) {
    Thread *thread = &live_thread;
    if (UNLIKELY(!thread->stripe)) live_take_stripe();
    Totals *totals = &thread->stripe[epoch];
    live_add(thread, &totals->mapped_bytes, size_bytes, &totals->mappings, mappings);
}

/* Short, rarely contended; in memory that a fork wipes, so that no child waits for a thread that it
   has not got. */
void live_lock(atomic_bool *lock);
void live_unlock(atomic_bool *lock);

#endif
