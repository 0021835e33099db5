#define _GNU_SOURCE
#include "python_hooks.h"

#include <dlfcn.h>

#include "core.h"
#include "python_allocators.h"

static Allocator wrapped[PYMEM_DOMAINS];
static ArenaAllocator wrapped_arenas;

/* Not armed: straight through. That an address of a stale entry comes back need not be looked for
   here as for native blocks, because every block of Python's is freed where we see it. */
static void *hook_malloc(void *context, size_t size) {
    const Allocator *next = context;
    if (!core_counts_now()) return next->malloc(next->context, size);
    core_depth++;
    void *block = next->malloc(next->context, size);
    core_depth--;
    core_allocated(block, size, DOMAIN_PYTHON);
    return block;
}

static void *hook_calloc(void *context, size_t count, size_t size) {
    const Allocator *next = context;
    if (!core_counts_now()) return next->calloc(next->context, count, size);
    core_depth++;
    void *block = next->calloc(next->context, count, size);
    core_depth--;
    core_allocated(block, count * size, DOMAIN_PYTHON);
    return block;
}

static void *hook_realloc(void *context, void *block, size_t size) {
    const Allocator *next = context;
    if (LIKELY(core_is_idle()) || core_depth) return next->realloc(next->context, block, size);
    Resize resize;
    core_resize_begin(&resize, block);
    core_depth++;
    void *new_block = next->realloc(next->context, block, size);
    core_depth--;
    core_resize_end(&resize, new_block, size, DOMAIN_PYTHON, UNKNOWN_SIZE, UNKNOWN_SIZE);
    return new_block;
}

static void hook_free(void *context, void *block) {
    const Allocator *next = context;
    core_freed(block);
    next->free(next->context, block);
}

/* Arenas are pages for many blocks of any age: not mappings of the test. The interpreter also
   takes the stack of its frames from here. */
static void *hook_arena_alloc(void *context, size_t size) {
    const ArenaAllocator *next = context;
    core_depth++;
    void *arena = next->alloc(next->context, size);
    core_depth--;
    return arena;
}

static void hook_arena_free(void *context, void *arena, size_t size) {
    const ArenaAllocator *next = context;
    core_depth++;
    next->free(next->context, arena, size);
    core_depth--;
}

static void wrap_domain(int domain, void (*get)(int, Allocator *), void (*set)(int, Allocator *)) {
    get(domain, &wrapped[domain]);
    Allocator hooks = {&wrapped[domain], hook_malloc, hook_calloc, hook_realloc, hook_free};
    set(domain, &hooks);
}

static void wrap_arenas(void) {
    void (*get)(ArenaAllocator *) =
        (void (*)(ArenaAllocator *))dlsym(RTLD_DEFAULT, "PyObject_GetArenaAllocator");
    void (*set)(ArenaAllocator *) =
        (void (*)(ArenaAllocator *))dlsym(RTLD_DEFAULT, "PyObject_SetArenaAllocator");
    if (!get || !set) return;
    get(&wrapped_arenas);
    ArenaAllocator hooks = {&wrapped_arenas, hook_arena_alloc, hook_arena_free};
    if (wrapped_arenas.alloc) set(&hooks);
}

static void (*get_allocator)(int, Allocator *);
static void (*set_allocator)(int, Allocator *);
typedef struct {
    int domain;
    void *(*malloc)(size_t);
    void (*free)(void *);
} Probed;
static Probed probed[2];

static void find_domain(Probed *found, int domain, const char *malloc, const char *free) {
    found->domain = domain;
    found->malloc = (void *(*)(size_t))dlsym(RTLD_DEFAULT, malloc);
    found->free = (void (*)(void *))dlsym(RTLD_DEFAULT, free);
}

bool python_hooks_install(void) {
    static bool is_installed;
    if (is_installed) return true;
    get_allocator = (void (*)(int, Allocator *))dlsym(RTLD_DEFAULT, "PyMem_GetAllocator");
    set_allocator = (void (*)(int, Allocator *))dlsym(RTLD_DEFAULT, "PyMem_SetAllocator");
    if (!get_allocator || !set_allocator) return false;
    find_domain(&probed[0], PYMEM_DOMAIN_MEM, "PyMem_Malloc", "PyMem_Free");
    find_domain(&probed[1], PYMEM_DOMAIN_OBJ, "PyObject_Malloc", "PyObject_Free");
    wrap_arenas();
    wrap_domain(PYMEM_DOMAIN_MEM, get_allocator, set_allocator);
    wrap_domain(PYMEM_DOMAIN_OBJ, get_allocator, set_allocator);
    is_installed = true;
    return true;
}

static bool sees(const Probed *domain) {
    if (!domain->malloc || !domain->free) return true; /* nothing to ask with */
    void *block = domain->malloc(1);
    Survivor survivor;
    bool is_seen = !block || core_find((uintptr_t)block, &survivor);
    domain->free(block);
    return is_seen;
}

bool python_hooks_see(void) {
    return core_counts_now() && sees(&probed[0]) && sees(&probed[1]);
}

void python_hooks_repair(void) {
    core_depth = 0; /* nobody is inside an allocator now */
    for (int at = 0; at < 2; at++)
        if (!sees(&probed[at])) wrap_domain(probed[at].domain, get_allocator, set_allocator);
}
