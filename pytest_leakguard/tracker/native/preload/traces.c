#define _GNU_SOURCE
#include "traces.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <unwind.h>

#include "../pages.h"
#include "cells.h"
#include "functions.h"
#include "mappings.h"

#define BLOCKS_BYTES (sizeof(TracedBlock) * TRACED_BLOCKS)
#define STACKS_BYTES (sizeof(TracedStack) * TRACED_STACKS)
/* Fuller than this, a search takes too many steps. */
#define MOST_BLOCKS (TRACED_BLOCKS / 4 * 3)
#define MOST_STACKS (TRACED_STACKS / 4 * 3)
/* What is still there after those that are gone are thrown out, from which on fewer are traced. */
#define MANY_BLOCKS (TRACED_BLOCKS / 2)
/* Of a lock that another thread has: then the block is not traced, so that nobody waits for long. */
#define MOST_TRIES 200
#define NO_STACK UINT32_MAX
/* What is kept of an interpreter's calls, the innermost ones, and of those of all stacks. */
#define INTERPRETED_BYTES 2048
#define TEXTS_BYTES ((size_t)1 << 22)
/* Stacks that are taken before only each second one is, then each fourth: 4 us for each, measured
   on a stack of five calls, would otherwise make minutes of a service that allocates much. */
#define TAKEN_AT_ONCE (1u << 20)

Traces traces = {.deepest = TRACED_DEEPEST, .stacks_size = TRACED_STACKS, .blocks_size = TRACED_BLOCKS,
                 .interval = 1};
static TracedBlock *spare; /* the blocks move there when those that are gone are thrown out */
static uint32_t blocks_used, stacks_used, begun, taken;
static atomic_bool is_changing; /* seen in a child: its parent was in the middle of it */

static _Atomic int lines_file = -1, lines_signal;
static char *texts;
static size_t texts_used;

typedef struct {
    size_t depth;
    uint64_t frames[TRACED_DEEPEST];
    size_t text_bytes;
    char text[INTERPRETED_BYTES];
} Unwound;

/* ---- where the caller is */

typedef struct {
    uintptr_t start, end;
    uintptr_t inside;
} Code;

static Code own, interpreter;

static int find_code(struct dl_phdr_info *object, size_t size, void *argument) {
    (void)size;
    Code *code = argument;
    uintptr_t start = UINTPTR_MAX, end = 0;
    for (int at = 0; at < object->dlpi_phnum; at++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[at];
        if (segment->p_type != PT_LOAD) continue;
        uintptr_t begins = object->dlpi_addr + segment->p_vaddr;
        if (begins < start) start = begins;
        if (begins + segment->p_memsz > end) end = begins + segment->p_memsz;
    }
    if (code->inside < start || code->inside >= end) return 0;
    code->start = start;
    code->end = end;
    return 1;
}

static bool is_in(const Code *code, uint64_t address) {
    return code->start <= address && address < code->end;
}

static _Unwind_Reason_Code add_frame(struct _Unwind_Context *context, void *argument) {
    Unwound *found = argument;
    uintptr_t frame = _Unwind_GetIP(context);
    if (!frame) return _URC_END_OF_STACK;
    bool is_ours = found->depth == 0 && is_in(&own, frame);
    if (!is_ours) found->frames[found->depth++] = frame;
    return found->depth < TRACED_DEEPEST ? _URC_NO_REASON : _URC_END_OF_STACK;
}

/* The unwinder is linked into this library, and with the tables of unwinding it allocates nothing. */
static void unwind(Unwound *found) {
    found->depth = 0;
    _Unwind_Backtrace(add_frame, found);
}

/* ---- the calls of an interpreter, with the lock held: the file is for all threads. Its own handler
   of a signal writes them, which needs neither its lock nor memory, and knows its version. */

static void interpret(Unwound *found) {
    int file = atomic_load(&lines_file);
    found->text_bytes = 0;
    if (file < 0 || ftruncate(file, 0) != 0 || lseek(file, 0, SEEK_SET) != 0) return;
    syscall(SYS_tgkill, getpid(), (pid_t)syscall(SYS_gettid), atomic_load(&lines_signal));
    ssize_t length = pread(file, found->text, INTERPRETED_BYTES - 1, 0);
    if (length > 0) found->text_bytes = (size_t)length;
}

/* What the interpreter allocates itself has no line, and it may be about to change what it calls. */
static bool is_interpreters(const Unwound *found) {
    size_t at = 0;
    while (at < found->depth && is_allocator((void *)(uintptr_t)found->frames[at])) at++;
    return at < found->depth && is_in(&interpreter, found->frames[at]);
}

void leakguard_live_lines(int file, int signal) {
    interpreter.inside = (uintptr_t)dlsym(RTLD_DEFAULT, "Py_IsInitialized");
    dl_iterate_phdr(find_code, &interpreter);
    atomic_store(&lines_signal, signal);
    atomic_store(&lines_file, file);
}

void traces_forget_lines(void) { atomic_store(&lines_file, -1); }

static uint64_t keep_text(const Unwound *found) {
    if (!found->text_bytes) return 0;
    if (!texts) {
        texts = pages_map(TEXTS_BYTES);
        if (texts) live_note_own((int64_t)TEXTS_BYTES);
    }
    if (!texts || texts_used + found->text_bytes + 1 > TEXTS_BYTES) return 0;
    char *text = texts + texts_used;
    memcpy(text, found->text, found->text_bytes);
    text[found->text_bytes] = 0;
    texts_used += found->text_bytes + 1;
    return (uint64_t)(uintptr_t)text;
}

#define FNV_PRIME UINT64_C(0x100000001b3)

static uint64_t hash_of(const Unwound *found) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a, by words */
    for (size_t at = 0; at < found->depth; at++) hash = (hash ^ found->frames[at]) * FNV_PRIME;
    for (size_t at = 0; at < found->text_bytes; at++)
        hash = (hash ^ (unsigned char)found->text[at]) * FNV_PRIME;
    return hash ? hash : 1;
}

/* ---- the tables, with the lock held */

static uint32_t stack_number(const Unwound *found) {
    uint64_t hash = hash_of(found);
    uint32_t at = (uint32_t)(hash >> 20) & (TRACED_STACKS - 1);
    for (;; at = (at + 1) & (TRACED_STACKS - 1)) {
        if (traces.stacks[at].hash == hash) return at;
        if (!traces.stacks[at].hash) break;
    }
    if (stacks_used >= MOST_STACKS) return NO_STACK;
    stacks_used++;
    TracedStack *stack = &traces.stacks[at];
    memcpy(stack->frames, found->frames, found->depth * sizeof *found->frames);
    stack->depth = found->depth;
    stack->interpreted = keep_text(found);
    stack->hash = hash;
    return at;
}

static uint64_t inverted(const void *address) { return ~(uint64_t)(uintptr_t)address; }

static void *address_of(const TracedBlock *block) { return (void *)(uintptr_t)~block->address; }

/* Where it is, or belongs. */
static TracedBlock *place_in(TracedBlock *blocks, uint64_t address) {
    uint32_t at = (uint32_t)((address >> GRANULE_LOG2) * UINT32_C(2654435761)) & (TRACED_BLOCKS - 1);
    while (blocks[at].address && blocks[at].address != address) at = (at + 1) & (TRACED_BLOCKS - 1);
    return &blocks[at];
}

/* Where no program has memory, so that it is no block's. */
static uint64_t place_of(uint32_t kind, uint32_t number) {
    return ~((uint64_t)kind << 32 ^ (uint64_t)number << GRANULE_LOG2);
}

static uint32_t number_of(const TracedBlock *block) {
    return (uint32_t)((~block->address ^ (uint64_t)block->epoch << 32) >> GRANULE_LOG2);
}

static bool is_there(const TracedBlock *block) {
    if (block->epoch == TRACED_MAPPING) return mappings_has(address_of(block));
    if (block->epoch == TRACED_DESCRIPTOR) return fcntl((int)number_of(block), F_GETFD) >= 0;
    if (block->epoch == TRACED_CHILD) return kill((pid_t)number_of(block), 0) == 0;
    if (block->epoch == TRACED_THREAD) return true;
    Cell *cell = cells_at((uintptr_t)address_of(block));
    uint32_t value = cell ? cell_load(cell) : 0;
    uint32_t size = block->size_bytes < LARGE - 1 ? (uint32_t)block->size_bytes + 1 : LARGE;
    return value && value >> SIZE_BITS == block->epoch && (value & SIZE_MASK) == size;
}

static uint32_t count_there(const TracedBlock *blocks) {
    uint32_t there = 0;
    for (uint32_t at = 0; at < TRACED_BLOCKS; at++) there += blocks[at].address && is_there(&blocks[at]);
    return there;
}

/* Where too many are still there, each second one stands for two, and half as many come from now on. */
static void throw_out(void) {
    TracedBlock *old = atomic_load(&traces.blocks), *kept = spare;
    uint32_t each = count_there(old) > MANY_BLOCKS ? 2 : 1, there = 0;
    blocks_used = 0;
    for (uint32_t at = 0; at < TRACED_BLOCKS; at++) {
        if (!old[at].address || !is_there(&old[at]) || there++ % each) continue;
        TracedBlock *place = place_in(kept, old[at].address);
        *place = old[at];
        place->weight *= each;
        blocks_used++;
    }
    atomic_store(&traces.interval, traces.interval * each);
    atomic_store_explicit(&traces.blocks, kept, memory_order_release);
    pages_empty(old, BLOCKS_BYTES);
    spare = old;
}

static bool make_tables(void) {
    own.inside = (uintptr_t)&traces;
    dl_iterate_phdr(find_code, &own);
    TracedBlock *blocks = pages_map(BLOCKS_BYTES);
    spare = blocks ? pages_map(BLOCKS_BYTES) : NULL;
    traces.stacks = spare ? pages_map(STACKS_BYTES) : NULL;
    if (!traces.stacks) return false;
    live_note_own(2 * BLOCKS_BYTES + STACKS_BYTES);
    atomic_store_explicit(&traces.blocks, blocks, memory_order_release);
    return true;
}

static void clear_tables(void) {
    pages_empty(atomic_load(&traces.blocks), BLOCKS_BYTES);
    pages_empty(traces.stacks, STACKS_BYTES);
    blocks_used = stacks_used = taken = 0;
    texts_used = 0;
    atomic_store(&traces.interval, 1);
    atomic_store(&traces.dropped, 0);
}

/* Each tracing begins with nothing, as does a child whose parent was about to change something. */
static bool are_ready(void) {
    if (!atomic_load(&traces.blocks)) {
        static bool was_refused;
        if (was_refused || !make_tables()) return was_refused = true, false;
    }
    uint32_t number = live_tracing();
    if (number != begun || atomic_load(&is_changing)) clear_tables();
    begun = number;
    return true;
}

static bool try_lock(void) {
    for (int tries = 0; tries < MOST_TRIES; tries++) {
        if (!atomic_exchange_explicit(&live_own->tracing, true, memory_order_acquire)) return true;
        sched_yield();
    }
    return false;
}

static void put(const TracedBlock *block, Unwound *found, void *before) {
    if (!are_ready()) return;
    interpret(found);
    atomic_store(&is_changing, true);
    if (blocks_used >= MOST_BLOCKS) throw_out();
    if (++taken % TAKEN_AT_ONCE == 0) atomic_store(&traces.interval, 2 * traces.interval);
    TracedBlock *blocks = atomic_load(&traces.blocks);
    uint64_t carried = 0;
    if (before) { /* what a block had that has grown */
        TracedBlock *old = place_in(blocks, inverted(before));
        if (old->address) carried = old->added_bytes;
    }
    uint32_t stack = stack_number(found);
    TracedBlock *place = place_in(blocks, block->address);
    if (stack == NO_STACK || blocks_used >= MOST_BLOCKS) {
        atomic_fetch_add(&traces.dropped, 1);
    } else {
        blocks_used += place->address == 0;
        *place = *block;
        place->stack = stack;
        place->added_bytes += carried;
    }
    atomic_store(&is_changing, false);
}

/* ---- what the hooks say */

static void trace(const TracedBlock *block, void *before) {
    int saved_errno = errno;
    live_thread.depth++;
    Unwound found;
    unwind(&found);
    if (interpreter.end && is_interpreters(&found)) {
        /* Its own agent knows more of it. */
    } else if (try_lock()) {
        put(block, &found, before);
        live_unlock(&live_own->tracing);
    } else {
        atomic_fetch_add(&traces.dropped, 1);
    }
    live_thread.depth--;
    errno = saved_errno;
}

void traces_block(void *block, size_t size_bytes, uint32_t epoch) {
    static FAST_THREAD_LOCAL uint32_t passed;
    uint32_t interval = atomic_load_explicit(&traces.interval, memory_order_relaxed);
    if (++passed % interval) return;
    TracedBlock traced = {inverted(block), size_bytes, size_bytes, epoch, 0, interval, 0};
    trace(&traced, NULL);
}

void traces_grown(void *before, size_t before_bytes, void *block, size_t size_bytes, uint32_t epoch) {
    if (size_bytes <= before_bytes) return;
    TracedBlock traced = {
        inverted(block), size_bytes, size_bytes - before_bytes, epoch, 0, 1, 0};
    trace(&traced, before);
}

void traces_mapping(void *start, size_t size_bytes) {
    TracedBlock traced = {inverted(start), size_bytes, size_bytes, TRACED_MAPPING, 0, 1, 0};
    trace(&traced, NULL);
}

static void trace_one(uint32_t kind, uint32_t number) {
    TracedBlock traced = {place_of(kind, number), 1, 1, kind, 0, 1, 0};
    trace(&traced, NULL);
}

void traces_descriptor(int file) { trace_one(TRACED_DESCRIPTOR, (uint32_t)file); }

void traces_thread(void) {
    static _Atomic uint32_t threads;
    trace_one(TRACED_THREAD, atomic_fetch_add(&threads, 1));
}

void traces_child(int child) { trace_one(TRACED_CHILD, (uint32_t)child); }
