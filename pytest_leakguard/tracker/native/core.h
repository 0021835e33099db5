/* Which blocks allocated during run k are still alive. The hooks report here; nothing here knows
   where the reports come from, so that a preloaded build can use it as well. */
#ifndef LEAKGUARD_CORE_H
#define LEAKGUARD_CORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lock.h"
#include "ranges.h"
#include "runs.h"
#include "table.h"

/* glibc allocates the other models' variables at a thread's first use: inside malloc. musl refuses
   this model in a library that is opened later, and allocates its variables at once. */
#if defined(__GLIBC__)
#define FAST_THREAD_LOCAL __thread __attribute__((tls_model("initial-exec")))
#else
#define FAST_THREAD_LOCAL __thread
#endif

#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/* An allocator's own calls of another one are part of the outermost call. */
extern FAST_THREAD_LOCAL int core_depth;

typedef struct {
    /* 0: not armed. */
    _Atomic uint32_t armed_run;
    _Atomic uint32_t ranges_used;
    _Atomic uintptr_t armed_thread;
    Table blocks;
    /* By how much other runs than its own have made a block larger, where they have. */
    Table added;
    Ranges ranges;
    Lock lock;
    atomic_bool is_child;
    /* Blocks that could not be entered for want of memory: counts are then too low. */
    _Atomic uint64_t lost;
} Core;

extern Core core;

/* The address of a thread's own variable is a name for the thread. */
static inline uintptr_t core_thread(void) { return (uintptr_t)&core_depth; }

static inline LockWay core_lock(void) { return lock_take(&core.lock, core_thread()); }
static inline void core_unlock(LockWay way) { lock_release(&core.lock, way); }

static inline uint32_t core_armed_run(void) {
    return atomic_load_explicit(&core.armed_run, memory_order_relaxed);
}

/* Nothing to do for any block: not armed and nothing tracked. */
static inline bool core_is_idle(void) {
    return core_armed_run() == 0 && table_used(&core.blocks) == 0;
}

/* Armed, and not inside another hook of this thread. */
static inline bool core_counts_now(void) { return core_armed_run() != 0 && core_depth == 0; }

static inline bool core_may_track(const void *block) {
    return table_used(&core.blocks) != 0 && table_may_contain(&core.blocks, (uintptr_t)block);
}

/* While armed: enters a new block for the current run. */
void core_enter(void *block, size_t size_bytes, Domain domain);
void core_remove(void *block);

/* Not armed, but the allocator hands out an address that we hold: it was freed where we do not
   see, so the entry goes. */
static inline void core_forget_stale(void *block) {
    if (UNLIKELY(core_may_track(block))) core_remove(block);
}

static inline void core_allocated(void *block, size_t size_bytes, Domain domain) {
    if (!block) return;
    if (core_counts_now())
        core_enter(block, size_bytes, domain);
    else
        core_forget_stale(block);
}

/* Before the block is freed: afterwards another thread may get the same address. */
static inline void core_freed(void *block) {
    if (block && UNLIKELY(core_may_track(block))) core_remove(block);
}

#define UNKNOWN_SIZE SIZE_MAX

typedef struct {
    void *block;
    uint64_t value;
    bool was_tracked;
} Resize;

/* Before realloc: takes the block out, as the allocator may give its address to another thread. */
void core_resize_begin(Resize *resize, void *block);
/* After it. `new_block` NULL: it failed and the block stays as it was. `usable_before` and
   `usable_after` are what the allocator says of a block that was not tracked, or UNKNOWN_SIZE. */
void core_resize_end(const Resize *resize, void *new_block, size_t size_bytes, Domain domain,
                     size_t usable_before, size_t usable_after);

/* Mappings. */
static inline bool core_tracks_mappings(void) {
    return atomic_load_explicit(&core.ranges_used, memory_order_relaxed) != 0;
}
void core_mapped(void *start, size_t size_bytes);
void core_unmapped(void *start, size_t size_bytes);

typedef struct {
    uint64_t value;
    size_t size_bytes;
    bool was_tracked;
} Remap;

/* Before mremap, and after it. Where it failed, `new` and `new_bytes` are the old ones. */
void core_remap_begin(Remap *remap, void *old, size_t old_bytes);
void core_remap_end(const Remap *remap, void *new, size_t new_bytes);

/* Control; see api.h. */
bool core_arm(uint32_t run);
void core_disarm(void);
void core_reset(void);
void core_move_runs(uint32_t first, uint32_t last, uint32_t to);
void core_forget_runs(uint32_t first, uint32_t last);

typedef struct {
    uint64_t address;
    uint64_t size_bytes;
    uint32_t run;
    uint8_t domain;
    uint8_t thread;
    uint16_t reserved;
} Survivor;

size_t core_survivors(uint32_t run, Survivor *survivors, size_t most);
/* Those of Python's in which a word, so many bytes from the start, is this one: objects of a type. */
size_t core_survivors_with(uint32_t run, size_t offset, uintptr_t word, Survivor *survivors,
                           size_t most);
bool core_find(uintptr_t address, Survivor *survivor);
void core_install_fork_handler(void);

#endif
