#define _GNU_SOURCE
#include "api.h"

#include <dlfcn.h>
#include <string.h>

#include "python_hooks.h"
#include "python_methods.h"
#include "stacks.h"

int tracker_api_version(void) { return API_VERSION; }

int tracker_install_python(void) {
    core_install_fork_handler();
    return python_hooks_install();
}

int tracker_sees_python(void) { return python_hooks_see(); }

void tracker_repair_python(void) {
    core_reset(); /* a forked child counts from now on */
    if (!core_arm(LARGEST_RUN)) return;
    python_hooks_repair();
    core_disarm();
    core_reset();
}

int tracker_install_native(void) {
    core_install_fork_handler();
    return (int)native_hooks_install();
}

void tracker_uninstall_native(void) { native_hooks_uninstall(); }
int tracker_native_state(void) { return (int)native_hooks_state(); }
uint64_t tracker_slots_replaced(void) { return native_hooks_replaced(); }
uint64_t tracker_slots_foreign(void) { return native_hooks_foreign(); }

int tracker_arm(uint32_t run) {
    native_hooks_refresh();
    return core_arm(run);
}

void tracker_disarm(void) { core_disarm(); }
void *tracker_method(const char *name) { return python_methods_make(name); }

void tracker_totals(uint32_t first, uint32_t count, RunTotals *totals) {
    LockWay way = core_lock();
    for (uint32_t at = 0; at < count; at++) {
        const RunTotals *found = first + at <= LARGEST_RUN ? runs_find(first + at) : NULL;
        totals[at] = found ? *found : (RunTotals){0};
    }
    core_unlock(way);
}

int tracker_keeps_nothing(uint32_t run) {
    RunTotals totals;
    tracker_totals(run, 1, &totals);
    for (int domain = 0; domain < DOMAINS; domain++)
        for (int thread = 0; thread < THREADS; thread++)
            if (totals.blocks[domain][thread] || totals.grown[domain][thread] > 0)
                return 0;
    return 1;
}

uint64_t tracker_survivors(uint32_t run, Survivor *survivors, uint64_t most) {
    return core_survivors(run, survivors, most);
}

uint64_t tracker_survivors_with(uint32_t run, uint64_t offset, uint64_t word, Survivor *survivors,
                                uint64_t most) {
    return core_survivors_with(run, offset, word, survivors, most);
}

uint64_t tracker_tables(const Survivor *survivors, uint64_t count, uint64_t *tables,
                        uint64_t *dicts) {
    return containers_tables(survivors, count, tables, dicts);
}

int tracker_find(uint64_t address, Survivor *survivor) { return core_find(address, survivor); }

void tracker_move_runs(uint32_t first, uint32_t last, uint32_t to) {
    core_move_runs(first, last, to);
}

void tracker_forget_runs(uint32_t first, uint32_t last) { core_forget_runs(first, last); }
void tracker_reset(void) { core_reset(); }

uint64_t tracker_used(void) {
    return table_used(&core.blocks) +
           atomic_load_explicit(&core.ranges_used, memory_order_relaxed);
}

uint64_t tracker_lost(void) { return atomic_load_explicit(&core.lost, memory_order_relaxed); }

uint64_t tracker_size_bytes(void) {
    return table_size_bytes(&core.blocks) + table_size_bytes(&core.added) + runs_size_bytes() +
           core.ranges.capacity * sizeof(Range);
}

int tracker_is_child(void) { return atomic_load(&core.is_child); }

int tracker_record_stacks(uint32_t depth) {
    if (depth && !stacks_prepare()) return 0;
    LockWay way = core_lock();
    stacks_record(depth);
    core_unlock(way);
    return 1;
}

uint32_t tracker_stack_of(uint64_t address, uintptr_t *frames, uint32_t most) {
    LockWay way = core_lock();
    size_t depth = stacks_find(address, frames, most);
    core_unlock(way);
    return (uint32_t)depth;
}

int tracker_locate(uintptr_t address, const char **file, uintptr_t *base, const char **symbol,
                   uintptr_t *symbol_address) {
    Dl_info info;
    if (!dladdr((void *)address, &info)) return 0;
    *file = info.dli_fname;
    *base = (uintptr_t)info.dli_fbase;
    *symbol = info.dli_sname;
    *symbol_address = (uintptr_t)info.dli_saddr;
    return 1;
}

void tracker_owners(const uintptr_t *objects, uint64_t object_count, const uintptr_t *blocks,
                    uint64_t block_count, const ObjectLayout *layout, uint64_t *owners) {
    owners_find(objects, object_count, blocks, block_count, layout, owners);
}

int tracker_hear(void *listener) { return audit_begin(listener); }
int tracker_ask_for(const char *event) { return audit_ask_for(event); }

int tracker_lost_blocks(int pid, uint64_t cells_root, uint32_t first, uint32_t last,
                        uint64_t most_bytes, LostBlocks *found) {
    return lost_blocks(pid, cells_root, first, last, most_bytes, found);
}

int tracker_block_roots(int pid, uint64_t cells_root, const uint64_t *asked, size_t asked_count,
                        const RootRange *ranges, size_t count, BlockRoot *roots, size_t most) {
    return block_roots(pid, cells_root, asked, asked_count, ranges, count, roots, most);
}
