#define _GNU_SOURCE
#include "core.h"

#include <pthread.h>
#include <unistd.h>

#include "stacks.h"

FAST_THREAD_LOCAL int core_depth;
Core core;

/* An entry's value: size 39 bits (512 GiB; what is larger counts as that), run 22, thread 1,
   domain 2. */
#define DOMAIN_BITS 2
#define THREAD_BITS 1
#define SIZE_SHIFT (RUN_BITS + THREAD_BITS + DOMAIN_BITS)
#define LARGEST_SIZE ((UINT64_C(1) << (64 - SIZE_SHIFT)) - 1)

static uint64_t pack(uint64_t size_bytes, uint32_t run, ThreadKind thread, Domain domain) {
    if (size_bytes > LARGEST_SIZE) size_bytes = LARGEST_SIZE;
    return size_bytes << SIZE_SHIFT | (uint64_t)run << (THREAD_BITS + DOMAIN_BITS) |
           (uint64_t)thread << DOMAIN_BITS | (uint64_t)domain;
}

static uint64_t size_of(uint64_t value) { return value >> SIZE_SHIFT; }

static uint32_t run_of(uint64_t value) {
    return (uint32_t)(value >> (THREAD_BITS + DOMAIN_BITS)) & LARGEST_RUN;
}

static ThreadKind thread_of(uint64_t value) { return value >> DOMAIN_BITS & 1; }

static Domain domain_of(uint64_t value) { return value & ((1 << DOMAIN_BITS) - 1); }

static uint64_t with_size(uint64_t value, uint64_t size_bytes) {
    return pack(size_bytes, run_of(value), thread_of(value), domain_of(value));
}

static uint64_t with_run(uint64_t value, uint32_t run) {
    return pack(size_of(value), run, thread_of(value), domain_of(value));
}

static ThreadKind this_thread(void) {
    uintptr_t armed = atomic_load_explicit(&core.armed_thread, memory_order_relaxed);
    return armed == core_thread() ? THREAD_OWN : THREAD_OTHER;
}

static void add_bytes(uint64_t value, int64_t blocks, int64_t size_bytes) {
    RunTotals *totals = runs_find(run_of(value));
    if (!totals) return;
    totals->blocks[domain_of(value)][thread_of(value)] += blocks;
    totals->bytes[domain_of(value)][thread_of(value)] += size_bytes;
}

static void count(uint64_t value, int sign) {
    add_bytes(value, sign, sign * (int64_t)size_of(value));
}

/* Growth of a block of another run belongs to the run that is armed, or to run 0 between runs. */
static bool book_growth(uint64_t value, int64_t size_bytes) {
    uint32_t run = core_armed_run();
    if (run != 0 && run == run_of(value)) return false;
    RunTotals *totals = runs_find(run);
    if (totals) totals->grown[domain_of(value)][this_thread()] += size_bytes;
    return totals != NULL;
}

/* By how much other runs have made a block larger; known no longer. */
static int64_t take_added(const void *block) {
    uint64_t added;
    if (LIKELY(!table_used(&core.added))) return 0;
    return table_remove(&core.added, (uintptr_t)block, &added) ? (int64_t)added : 0;
}

/* What other runs have added to a block goes with it, as growth undone: a list that is filled and
   emptied again has not grown. */
static void book_loss_of_added(const void *block, uint64_t value) {
    int64_t added = take_added(block);
    if (added && run_of(value) != 0) book_growth(value, -added);
}

/* What is gone of an old block is growth undone. Later runs lose it from their own bytes. */
static void book_loss_of_old(uint64_t value, int64_t size_bytes) {
    if (run_of(value) == 0) book_growth(value, -size_bytes);
}

static void remove_entry(void *block) {
    uint64_t value;
    if (!table_remove(&core.blocks, (uintptr_t)block, &value)) return;
    count(value, -1);
    book_loss_of_old(value, (int64_t)size_of(value));
    book_loss_of_added(block, value);
    if (UNLIKELY(stacks_are_recorded())) stacks_drop((uintptr_t)block);
}

static void put_entry(void *block, uint64_t value) {
    uint64_t previous;
    switch (table_put(&core.blocks, (uintptr_t)block, value, &previous)) {
    case TABLE_NO_MEMORY:
        atomic_fetch_add_explicit(&core.lost, 1, memory_order_relaxed);
        return;
    case TABLE_REPLACED: /* freed where we do not see, and handed out again */
        count(previous, -1);
        book_loss_of_old(previous, (int64_t)size_of(previous));
        book_loss_of_added(block, previous);
        stacks_drop((uintptr_t)block);
        break;
    case TABLE_NEW: break;
    }
    count(value, 1);
}

/* True when a stack was taken. Unwinding may allocate: those calls are inner ones. */
static bool capture_stack(Stack *stack) {
    if (LIKELY(!stacks_are_recorded())) return false;
    core_depth++;
    stacks_capture(stack);
    core_depth--;
    return true;
}

/* Apart from the fast path, whose frame would otherwise have room for a stack. */
static __attribute__((noinline)) void enter_with_stack(void *block, size_t size_bytes,
                                                       Domain domain) {
    Stack stack;
    bool has_stack = capture_stack(&stack);
    LockWay way = core_lock();
    uint32_t run = core_armed_run();
    if (run) {
        put_entry(block, pack(size_bytes, run, this_thread(), domain));
        if (has_stack) stacks_keep((uintptr_t)block, &stack);
    }
    core_unlock(way);
}

void core_enter(void *block, size_t size_bytes, Domain domain) {
    if (UNLIKELY(stacks_are_recorded())) {
        enter_with_stack(block, size_bytes, domain);
        return;
    }
    LockWay way = core_lock();
    uint32_t run = core_armed_run(); /* disarmed by another thread meanwhile: 0 */
    if (run) put_entry(block, pack(size_bytes, run, this_thread(), domain));
    core_unlock(way);
}

void core_remove(void *block) {
    LockWay way = core_lock();
    remove_entry(block);
    core_unlock(way);
}

void core_resize_begin(Resize *resize, void *block) {
    resize->block = block;
    resize->was_tracked = false;
    if (!block || !core_may_track(block)) return;
    LockWay way = core_lock();
    resize->was_tracked = table_remove(&core.blocks, (uintptr_t)block, &resize->value);
    if (resize->was_tracked) count(resize->value, -1);
    core_unlock(way);
}

static void put_resized(const Resize *resize, void *new_block, size_t size_bytes) {
    uint64_t value = with_size(resize->value, size_bytes);
    int64_t growth = (int64_t)size_of(value) - (int64_t)size_of(resize->value);
    int64_t added = take_added(resize->block);
    uint64_t previous;
    if (book_growth(value, growth)) added += growth;
    put_entry(new_block, value);
    if (added && run_of(value) != 0)
        table_put(&core.added, (uintptr_t)new_block, (uint64_t)added, &previous);
}

/* A block older than tracking: it enters as run 0, so that its next change of size is exact. */
static void put_old(void *new_block, size_t size_bytes, Domain domain, size_t usable_before,
                    size_t usable_after) {
    uint64_t value = pack(size_bytes, 0, this_thread(), domain);
    put_entry(new_block, value);
    if (usable_before != UNKNOWN_SIZE)
        book_growth(value, (int64_t)usable_after - (int64_t)usable_before);
}

/* The stack stays that of the first allocation. */
static void move_stack(void *old_block, void *new_block) {
    uintptr_t frames[DEEPEST_STACK];
    if (old_block == new_block) return;
    Stack stack = {.depth = stacks_find((uintptr_t)old_block, frames, DEEPEST_STACK)};
    if (!stack.depth) return;
    for (size_t at = 0; at < stack.depth; at++) stack.frames[at] = frames[at];
    stacks_drop((uintptr_t)old_block);
    stacks_keep((uintptr_t)new_block, &stack);
}

void core_resize_end(const Resize *resize, void *new_block, size_t size_bytes, Domain domain,
                     size_t usable_before, size_t usable_after) {
    if (!resize->block) {
        core_allocated(new_block, size_bytes, domain);
        return;
    }
    bool enters = !resize->was_tracked && new_block && core_armed_run();
    if (!resize->was_tracked && !enters) {
        if (new_block) core_forget_stale(new_block);
        return;
    }
    LockWay way = core_lock();
    if (enters) {
        put_old(new_block, size_bytes, domain, usable_before, usable_after);
    } else if (new_block) {
        put_resized(resize, new_block, size_bytes);
        if (UNLIKELY(stacks_are_recorded())) move_stack(resize->block, new_block);
    } else {
        put_entry(resize->block, resize->value);
    }
    core_unlock(way);
}

static void publish_ranges(void) {
    atomic_store_explicit(&core.ranges_used, (uint32_t)core.ranges.used, memory_order_relaxed);
}

static void range_removed(const Range *old, size_t removed_bytes, int ranges_more) {
    add_bytes(old->value, ranges_more, -(int64_t)removed_bytes);
    book_loss_of_old(old->value, (int64_t)removed_bytes);
    if (ranges_more < 0) stacks_drop(old->start);
}

/* A mapping's size is in its range; the value has only run, thread and domain. */
static void put_range(uintptr_t start, size_t size_bytes, uint64_t value) {
    Range range = {start, start + size_bytes, value};
    ranges_remove(&core.ranges, range.start, range.end, range_removed);
    if (ranges_insert(&core.ranges, range))
        add_bytes(value, 1, (int64_t)size_bytes);
    else
        atomic_fetch_add_explicit(&core.lost, 1, memory_order_relaxed);
}

void core_mapped(void *start, size_t size_bytes) {
    Stack stack;
    bool has_stack = core_counts_now() && capture_stack(&stack);
    LockWay way = core_lock();
    uint32_t run = core_armed_run();
    uintptr_t address = (uintptr_t)start;
    if (run && core_depth == 0) {
        put_range(address, size_bytes, pack(0, run, this_thread(), DOMAIN_MAPPING));
        if (has_stack) stacks_keep(address, &stack);
    } else {
        ranges_remove(&core.ranges, address, address + size_bytes, range_removed);
    }
    publish_ranges();
    core_unlock(way);
}

void core_unmapped(void *start, size_t size_bytes) {
    uintptr_t address = (uintptr_t)start;
    LockWay way = core_lock();
    ranges_remove(&core.ranges, address, address + size_bytes, range_removed);
    publish_ranges();
    core_unlock(way);
}

/* What moves is not lost: its loss is booked back. */
void core_remap_begin(Remap *remap, void *old, size_t old_bytes) {
    uintptr_t address = (uintptr_t)old;
    remap->size_bytes = old_bytes;
    LockWay way = core_lock();
    const Range *range = ranges_find(&core.ranges, address);
    remap->was_tracked = range != NULL;
    remap->value = range ? range->value : pack(0, 0, this_thread(), DOMAIN_MAPPING);
    ranges_remove(&core.ranges, address, address + old_bytes, range_removed);
    if (range) book_loss_of_old(remap->value, -(int64_t)old_bytes);
    publish_ranges();
    core_unlock(way);
}

void core_remap_end(const Remap *remap, void *new, size_t new_bytes) {
    if (!remap->was_tracked && !core_counts_now()) return;
    Stack stack;
    bool has_stack = capture_stack(&stack);
    LockWay way = core_lock();
    put_range((uintptr_t)new, new_bytes, remap->value);
    book_growth(remap->value, (int64_t)new_bytes - (int64_t)remap->size_bytes);
    if (has_stack) stacks_keep((uintptr_t)new, &stack);
    publish_ranges();
    core_unlock(way);
}

bool core_arm(uint32_t run) {
    if (run == 0 || run > LARGEST_RUN) return false;
    if (atomic_load_explicit(&core.is_child, memory_order_relaxed)) return false;
    LockWay way = core_lock();
    if (way == LOCK_BY_EXCHANGE) lock_lean(&core.lock, core_thread());
    bool is_prepared = runs_prepare(0) && runs_prepare(run);
    if (is_prepared) {
        table_shrink(&core.blocks);
        atomic_store_explicit(&core.armed_thread, core_thread(), memory_order_relaxed);
        atomic_store_explicit(&core.armed_run, run, memory_order_release);
    }
    core_unlock(way);
    return is_prepared;
}

void core_disarm(void) { atomic_store_explicit(&core.armed_run, 0, memory_order_release); }

void core_reset(void) {
    core_disarm();
    LockWay way = core_lock();
    stacks_record(0);
    table_clear(&core.blocks);
    table_clear(&core.added);
    ranges_clear(&core.ranges);
    publish_ranges();
    runs_clear();
    atomic_store_explicit(&core.lost, 0, memory_order_relaxed);
    atomic_store_explicit(&core.is_child, false, memory_order_relaxed);
    core_unlock(way);
}

static bool is_within(uint64_t value, uint32_t first, uint32_t last) {
    uint32_t run = run_of(value);
    return first <= run && run <= last;
}

/* The whole table is looked at only as long as the totals say that there is something. */
static void move_blocks(uint32_t first, uint32_t last, uint32_t to) {
    uint64_t left = runs_alive(first, last);
    size_t capacity = table_used(&core.blocks) ? table_capacity(&core.blocks) : 0;
    for (size_t at = 0; left && at < capacity; at++) {
        uint64_t value;
        if (!table_at(&core.blocks, at, &value) || !is_within(value, first, last)) continue;
        count(value, -1);
        value = with_run(value, to);
        table_set_value_at(&core.blocks, at, value);
        count(value, 1);
        left--;
    }
}

static void move_ranges(uint32_t first, uint32_t last, uint32_t to) {
    for (size_t at = 0; at < core.ranges.used; at++) {
        Range *range = &core.ranges.items[at];
        if (!is_within(range->value, first, last)) continue;
        int64_t size_bytes = (int64_t)(range->end - range->start);
        add_bytes(range->value, -1, -size_bytes);
        range->value = with_run(range->value, to);
        add_bytes(range->value, 1, size_bytes);
    }
}

void core_move_runs(uint32_t first, uint32_t last, uint32_t to) {
    LockWay way = core_lock();
    if (runs_prepare(0) && runs_prepare(to)) {
        move_blocks(first, last, to);
        move_ranges(first, last, to);
    }
    core_unlock(way);
}

static void forget_blocks(uint32_t first, uint32_t last) {
    uint64_t left = runs_alive(first, last);
    size_t at = 0;
    while (left && table_used(&core.blocks) && at < table_capacity(&core.blocks)) {
        uint64_t value;
        uintptr_t address = table_at(&core.blocks, at, &value);
        if (!address || !is_within(value, first, last)) {
            at++;
            continue;
        }
        table_remove(&core.blocks, address, &value); /* another entry may be here now */
        stacks_drop(address);
        take_added((void *)address);
        left--;
    }
}

static void forget_ranges(uint32_t first, uint32_t last) {
    size_t at = 0;
    while (at < core.ranges.used) {
        Range *range = &core.ranges.items[at];
        if (!is_within(range->value, first, last)) {
            at++;
            continue;
        }
        stacks_drop(range->start);
        ranges_erase(&core.ranges, at);
    }
    publish_ranges();
}

void core_forget_runs(uint32_t first, uint32_t last) {
    LockWay way = core_lock();
    forget_blocks(first, last);
    forget_ranges(first, last);
    runs_forget(first, last);
    table_shrink(&core.blocks);
    table_shrink(&core.added);
    core_unlock(way);
}

static Survivor survivor_from(uintptr_t address, uint64_t size_bytes, uint64_t value) {
    return (Survivor){.address = address,
                      .size_bytes = size_bytes,
                      .run = run_of(value),
                      .domain = (uint8_t)domain_of(value),
                      .thread = (uint8_t)thread_of(value)};
}

static Survivor survivor_from_range(const Range *range) {
    return survivor_from(range->start, range->end - range->start, range->value);
}

size_t core_survivors(uint32_t run, Survivor *survivors, size_t most) {
    size_t found = 0;
    LockWay way = core_lock();
    size_t capacity = table_used(&core.blocks) ? table_capacity(&core.blocks) : 0;
    for (size_t at = 0; at < capacity && found < most; at++) {
        uint64_t value;
        uintptr_t address = table_at(&core.blocks, at, &value);
        if (address && run_of(value) == run)
            survivors[found++] = survivor_from(address, size_of(value), value);
    }
    for (size_t at = 0; at < core.ranges.used && found < most; at++) {
        const Range *range = &core.ranges.items[at];
        if (run_of(range->value) == run) survivors[found++] = survivor_from_range(range);
    }
    core_unlock(way);
    return found;
}

static bool has_word(uintptr_t address, uint64_t value, size_t offset, uintptr_t word) {
    return domain_of(value) == DOMAIN_PYTHON && size_of(value) >= offset + sizeof word &&
           *(const uintptr_t *)(address + offset) == word;
}

size_t core_survivors_with(uint32_t run, size_t offset, uintptr_t word, Survivor *survivors,
                           size_t most) {
    size_t found = 0;
    LockWay way = core_lock();
    size_t capacity = table_used(&core.blocks) ? table_capacity(&core.blocks) : 0;
    for (size_t at = 0; at < capacity && found < most; at++) {
        uint64_t value;
        uintptr_t address = table_at(&core.blocks, at, &value);
        if (address && run_of(value) == run && has_word(address, value, offset, word))
            survivors[found++] = survivor_from(address, size_of(value), value);
    }
    core_unlock(way);
    return found;
}

bool core_find(uintptr_t address, Survivor *survivor) {
    uint64_t value;
    LockWay way = core_lock();
    const Range *range = ranges_find(&core.ranges, address);
    bool is_block = table_find(&core.blocks, address, &value);
    if (is_block)
        *survivor = survivor_from(address, size_of(value), value);
    else if (range)
        *survivor = survivor_from_range(range);
    core_unlock(way);
    return is_block || range;
}

/* ---- fork */

static pid_t own_process;

/* The child tracks nothing until core_reset. Another thread may have held the lock and left the
   table half changed: nothing of it is read. No lock is taken before the fork: other libraries'
   handlers, which run after ours, may allocate. */
static void after_fork_in_child(void) {
    own_process = getpid();
    atomic_store(&core.is_child, true);
    atomic_store(&core.armed_run, 0);
    atomic_store(&core.ranges_used, 0);
    atomic_store(&core.blocks.used, 0);
    atomic_store(&core.added.used, 0);
    core.ranges.used = 0;
    lock_renew(&core.lock);
}

/* A handler that runs in the child before ours may allocate and wait for an owner that is not
   there. */
static bool is_unknown_child(void) {
    if (getpid() == own_process) return false;
    after_fork_in_child();
    return true;
}

void core_install_fork_handler(void) {
    static bool is_installed;
    if (is_installed) return;
    is_installed = true;
    own_process = getpid();
    lock_is_orphaned = is_unknown_child;
    pthread_atfork(NULL, NULL, after_fork_in_child);
}
