/* Python's own allocator: its blocks are counted one by one, its arenas not. */
#define _GNU_SOURCE
#include <dlfcn.h>

#include "../python_allocators.h"
#include "cells.h"
#include "live.h"

static Allocator wrapped[PYMEM_DOMAINS];
static ArenaAllocator wrapped_arenas;

static void *hook_malloc(void *context, size_t size) {
    const Allocator *next = context;
    live_thread.depth++;
    void *block = next->malloc(next->context, size);
    live_thread.depth--;
    block_allocated_untraced(block, size);
    return block;
}

static void *hook_calloc(void *context, size_t count, size_t size) {
    const Allocator *next = context;
    live_thread.depth++;
    void *block = next->calloc(next->context, count, size);
    live_thread.depth--;
    block_allocated_untraced(block, count * size);
    return block;
}

static void *hook_realloc(void *context, void *block, size_t size) {
    const Allocator *next = context;
    Block before = block && live_counts() ? cells_take(block) : (Block){NO_BLOCK, 0};
    live_thread.depth++;
    void *moved = next->realloc(next->context, block, size);
    live_thread.depth--;
    if (!block) {
        block_allocated_untraced(moved, size);
        return moved;
    }
    void *kept = moved ? moved : block;
    size_t now = moved ? size : before.size_bytes;
    bool is_known = moved || before.size_bytes != NO_BLOCK;
    if (is_known && live_thread.depth == 0 && live_counts())
        cells_put(kept, now, before.size_bytes == NO_BLOCK ? 0 : before.epoch);
    return moved;
}

static void hook_free(void *context, void *block) {
    const Allocator *next = context;
    block_freed(block);
    live_thread.depth++;
    next->free(next->context, block);
    live_thread.depth--;
}

static void *hook_arena_alloc(void *context, size_t size) {
    const ArenaAllocator *next = context;
    live_thread.depth++;
    void *arena = next->alloc(next->context, size);
    live_thread.depth--;
    return arena;
}

static void hook_arena_free(void *context, void *arena, size_t size) {
    const ArenaAllocator *next = context;
    live_thread.depth++;
    next->free(next->context, arena, size);
    live_thread.depth--;
}

static void *python_function(const char *name) { return dlsym(RTLD_DEFAULT, name); }

static void wrap_domain(int domain, void (*get)(int, Allocator *), void (*set)(int, Allocator *)) {
    get(domain, &wrapped[domain]);
    Allocator hooks = {&wrapped[domain], hook_malloc, hook_calloc, hook_realloc, hook_free};
    set(domain, &hooks);
}

static void wrap_arenas(void) {
    void (*get)(ArenaAllocator *) =
        (void (*)(ArenaAllocator *))python_function("PyObject_GetArenaAllocator");
    void (*set)(ArenaAllocator *) =
        (void (*)(ArenaAllocator *))python_function("PyObject_SetArenaAllocator");
    if (!get || !set) return;
    get(&wrapped_arenas);
    ArenaAllocator hooks = {&wrapped_arenas, hook_arena_alloc, hook_arena_free};
    if (wrapped_arenas.alloc) set(&hooks);
}

PUBLIC int leakguard_live_python(void);

/* Called by the agent in the interpreter, which has the GIL. 1: its blocks are counted from now. */
PUBLIC int leakguard_live_python(void) {
    static bool is_installed;
    void (*get)(int, Allocator *) =
        (void (*)(int, Allocator *))python_function("PyMem_GetAllocator");
    void (*set)(int, Allocator *) =
        (void (*)(int, Allocator *))python_function("PyMem_SetAllocator");
    if (is_installed || !get || !set || !live_counts()) return is_installed;
    wrap_arenas();
    wrap_domain(PYMEM_DOMAIN_MEM, get, set);
    wrap_domain(PYMEM_DOMAIN_OBJ, get, set);
    live_note_python();
    return is_installed = true;
}

PUBLIC void leakguard_live_pause(int is_paused);

/* What the calling thread allocates in between is the agent's own, and not counted. */
PUBLIC void leakguard_live_pause(int is_paused) { live_thread.depth += is_paused ? 1 : -1; }
