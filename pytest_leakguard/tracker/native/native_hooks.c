#define _GNU_SOURCE
#include "native_hooks.h"

#include "elf_slots.h"

#ifdef HAS_ELF_SLOTS

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include "core.h"

/* The caller's address decides what dlsym does: leave by a jump, not by a call. */
#if defined(__has_attribute)
#if __has_attribute(musttail)
#define JUMP __attribute__((musttail)) return
#endif
#endif
#ifndef JUMP
#define JUMP return /* gcc makes a jump of it from -O2 on; tests/tracker checks that */
#endif

static NativeState state;

/* The functions that were replaced. */
static void *(*real_malloc)(size_t);
static void *(*real_calloc)(size_t, size_t);
static void *(*real_realloc)(void *, size_t);
static void *(*real_reallocarray)(void *, size_t, size_t);
static void (*real_free)(void *);
static void (*real_free_sized)(void *, size_t);
static void (*real_free_aligned_sized)(void *, size_t, size_t);
static int (*real_posix_memalign)(void **, size_t, size_t);
static void *(*real_aligned_alloc)(size_t, size_t);
static void *(*real_memalign)(size_t, size_t);
static void *(*real_valloc)(size_t);
static void *(*real_pvalloc)(size_t);
static void *(*real_mmap)(void *, size_t, int, int, int, off_t);
static void *(*real_mmap64)(void *, size_t, int, int, int, off_t);
static int (*real_munmap)(void *, size_t);
static void *(*real_mremap)(void *, size_t, size_t, int, ...);
static int (*real_mprotect)(void *, size_t, int);
static void *(*real_dlsym)(void *, const char *);
/* Not replaced; what the allocator says of a block. */
static size_t (*usable_size)(void *);

/* ---- the malloc family */

/* While armed: inner calls of this thread are not counted. Otherwise straight through. */
#define ALLOCATE(size_bytes, call)                                                                 \
    if (LIKELY(core_is_idle()) || core_depth) return call;                                         \
    core_depth++;                                                                                  \
    void *block = call;                                                                            \
    core_depth--;                                                                                  \
    core_allocated(block, size_bytes, DOMAIN_NATIVE);                                              \
    return block

static void *hook_malloc(size_t size) { ALLOCATE(size, real_malloc(size)); }

static void *hook_calloc(size_t count, size_t size) {
    ALLOCATE(count * size, real_calloc(count, size));
}

static void *hook_aligned_alloc(size_t alignment, size_t size) {
    ALLOCATE(size, real_aligned_alloc(alignment, size));
}

static void *hook_memalign(size_t alignment, size_t size) {
    ALLOCATE(size, real_memalign(alignment, size));
}

static void *hook_valloc(size_t size) { ALLOCATE(size, real_valloc(size)); }

static void *hook_pvalloc(size_t size) { ALLOCATE(size, real_pvalloc(size)); }

static int hook_posix_memalign(void **block, size_t alignment, size_t size) {
    if (LIKELY(core_is_idle()) || core_depth) return real_posix_memalign(block, alignment, size);
    core_depth++;
    int error = real_posix_memalign(block, alignment, size);
    core_depth--;
    if (!error) core_allocated(*block, size, DOMAIN_NATIVE);
    return error;
}

static void *reallocate(void *block, size_t size) {
    Resize resize;
    core_resize_begin(&resize, block);
    bool is_unknown = block && !resize.was_tracked && core_armed_run() && usable_size;
    size_t before = is_unknown ? usable_size(block) : UNKNOWN_SIZE;
    core_depth++;
    void *new_block = real_realloc(block, size);
    core_depth--;
    int saved_errno = errno;
    if (!new_block && size == 0 && resize.was_tracked) { /* freed */
        core_resize_end(&resize, NULL, 0, DOMAIN_NATIVE, UNKNOWN_SIZE, UNKNOWN_SIZE);
        core_freed(block);
    } else {
        size_t after = is_unknown && new_block ? usable_size(new_block) : UNKNOWN_SIZE;
        core_resize_end(&resize, new_block, size, DOMAIN_NATIVE, before, after);
    }
    errno = saved_errno;
    return new_block;
}

static void *hook_realloc(void *block, size_t size) {
    if (LIKELY(core_is_idle()) || core_depth) return real_realloc(block, size);
    return reallocate(block, size);
}

static void *hook_reallocarray(void *block, size_t count, size_t size) {
    size_t size_bytes;
    bool overflows = __builtin_mul_overflow(count, size, &size_bytes);
    if (core_is_idle() || core_depth || overflows) return real_reallocarray(block, count, size);
    return reallocate(block, size_bytes);
}

static void hook_free(void *block) {
    core_freed(block);
    real_free(block);
}

static void hook_free_sized(void *block, size_t size) {
    core_freed(block);
    real_free_sized(block, size);
}

static void hook_free_aligned_sized(void *block, size_t alignment, size_t size) {
    core_freed(block);
    real_free_aligned_sized(block, alignment, size);
}

/* ---- mappings */

static size_t whole_pages(size_t size_bytes) {
    size_t page = (size_t)getpagesize();
    return (size_bytes + page - 1) & ~(page - 1);
}

static void *mapped(void *start, size_t size_bytes) {
    if (start == MAP_FAILED) return start;
    if (core_counts_now() || core_tracks_mappings()) core_mapped(start, whole_pages(size_bytes));
    return start;
}

static void *hook_mmap(void *start, size_t size, int protection, int flags, int file, off_t at) {
    return mapped(real_mmap(start, size, protection, flags, file, at), size);
}

static void *hook_mmap64(void *start, size_t size, int protection, int flags, int file, off_t at) {
    return mapped(real_mmap64(start, size, protection, flags, file, at), size);
}

/* Before the call: afterwards another thread may be given the same pages. */
static int hook_munmap(void *start, size_t size) {
    bool is_aligned = ((uintptr_t)start & ((size_t)getpagesize() - 1)) == 0;
    if (core_tracks_mappings() && is_aligned && size) core_unmapped(start, whole_pages(size));
    return real_munmap(start, size);
}

/* The fifth argument is there only with some flags; handing it on unread does no harm. */
static void *hook_mremap(void *old, size_t old_size, size_t size, int flags, void *wanted) {
    bool is_watched = core_counts_now() || core_tracks_mappings();
    if (!is_watched) return real_mremap(old, old_size, size, flags, wanted);
    if (old_size == 0) /* a second view of shared pages */
        return mapped(real_mremap(old, old_size, size, flags, wanted), size);
    Remap remap;
    core_remap_begin(&remap, old, whole_pages(old_size));
    void *start = real_mremap(old, old_size, size, flags, wanted);
    int saved_errno = errno;
    if (start != MAP_FAILED)
        core_remap_end(&remap, start, whole_pages(size));
    else if (remap.was_tracked)
        core_remap_end(&remap, old, whole_pages(old_size));
    errno = saved_errno;
    return start;
}

/* Pages that the interpreter itself makes executable are code that its JIT has compiled: as little a
   mapping of the test as its arenas are. */
static LoadedRange interpreter;

static int hook_mprotect(void *start, size_t size, int protection) {
    uintptr_t caller = (uintptr_t)__builtin_return_address(0);
    bool is_interpreters = interpreter.low <= caller && caller < interpreter.high;
    if (is_interpreters && (protection & PROT_EXEC) && core_tracks_mappings())
        core_unmapped(start, whole_pages(size));
    return real_mprotect(start, size, protection);
}

/* ---- C++: an allocator with malloc of its own brings operator new, which does not call malloc
   through a slot. Depth stays as it is, because operator new may throw through us. All forms have
   at most three arguments, in registers: handing on one too many does no harm. */

typedef void *(*OperatorNew)(size_t, uintptr_t, uintptr_t);
typedef void (*OperatorDelete)(void *, uintptr_t, uintptr_t);

#define NEW_FORMS(form)                                                                            \
    form(_Znwm) form(_Znam) form(_ZnwmRKSt9nothrow_t) form(_ZnamRKSt9nothrow_t)                    \
    form(_ZnwmSt11align_val_t) form(_ZnamSt11align_val_t)                                          \
    form(_ZnwmSt11align_val_tRKSt9nothrow_t) form(_ZnamSt11align_val_tRKSt9nothrow_t)

#define DELETE_FORMS(form)                                                                         \
    form(_ZdlPv) form(_ZdaPv) form(_ZdlPvm) form(_ZdaPvm)                                          \
    form(_ZdlPvRKSt9nothrow_t) form(_ZdaPvRKSt9nothrow_t)                                          \
    form(_ZdlPvSt11align_val_t) form(_ZdaPvSt11align_val_t)                                        \
    form(_ZdlPvmSt11align_val_t) form(_ZdaPvmSt11align_val_t)                                      \
    form(_ZdlPvSt11align_val_tRKSt9nothrow_t) form(_ZdaPvSt11align_val_tRKSt9nothrow_t)

#define DEFINE_NEW(name)                                                                           \
    static OperatorNew real##name;                                                                 \
    static void *hook##name(size_t size, uintptr_t second, uintptr_t third) {                      \
        void *block = real##name(size, second, third);                                             \
        if (UNLIKELY(!core_is_idle())) core_allocated(block, size, DOMAIN_NATIVE);                 \
        return block;                                                                              \
    }

#define DEFINE_DELETE(name)                                                                        \
    static OperatorDelete real##name;                                                              \
    static void hook##name(void *block, uintptr_t second, uintptr_t third) {                       \
        core_freed(block);                                                                         \
        real##name(block, second, third);                                                          \
    }

NEW_FORMS(DEFINE_NEW)
DELETE_FORMS(DEFINE_DELETE)

/* ---- the loader */

static void *hook_dlsym(void *handle, const char *name);

#define REPLACEMENT(name) {#name, (void *)hook_##name, (void **)&real_##name, false}
#define MAPPING(name) {#name, (void *)hook_##name, (void **)&real_##name, true}
#define OPERATOR(name) {#name, (void *)hook##name, (void **)&real##name, false},

static const Replacement replacements[] = {
    REPLACEMENT(malloc),
    REPLACEMENT(free),
    REPLACEMENT(calloc),
    REPLACEMENT(realloc),
    REPLACEMENT(reallocarray),
    REPLACEMENT(posix_memalign),
    REPLACEMENT(aligned_alloc),
    REPLACEMENT(memalign),
    REPLACEMENT(valloc),
    REPLACEMENT(pvalloc),
    REPLACEMENT(free_sized),
    REPLACEMENT(free_aligned_sized),
    MAPPING(mmap),
    MAPPING(mmap64),
    MAPPING(munmap),
    MAPPING(mremap),
    MAPPING(mprotect),
    REPLACEMENT(dlsym),
    NEW_FORMS(OPERATOR) DELETE_FORMS(OPERATOR)};

#define REPLACEMENTS (sizeof replacements / sizeof *replacements)

static void *replacement_of(const char *name, const void *function) {
    for (size_t at = 0; at < REPLACEMENTS; at++) {
        const Replacement *item = &replacements[at];
        if (*item->original == function && strcmp(item->name, name) == 0) return item->replacement;
    }
    return NULL;
}

static bool is_replaced_name(const char *name) {
    for (size_t at = 0; at < REPLACEMENTS; at++)
        if (*replacements[at].original && strcmp(replacements[at].name, name) == 0) return true;
    return false;
}

/* ctypes.CDLL(None).malloc comes from here. dlsym itself is handed out as it is: who looks it up
   is a tool. RTLD_NEXT depends on the caller, so it is left alone. */
static bool hands_out_replacement(const void *handle, const char *name) {
    return handle != RTLD_NEXT && strcmp(name, "dlsym") != 0 && is_replaced_name(name);
}

static void *find_replaced(void *handle, const char *name) {
    void *function = real_dlsym(handle, name);
    void *replacement = function ? replacement_of(name, function) : NULL;
    return replacement ? replacement : function;
}

/* Whatever was opened is looked up next, and is hooked here before its first function is called.
   dlopen itself is not replaced: the loader takes RUNPATH, RPATH and $ORIGIN from its caller, and
   must not find us in that place. What is opened and never looked up is hooked at the next dlsym,
   or when a run is armed. */
static void *hook_dlsym(void *handle, const char *name) {
    native_hooks_refresh();
    if (name && hands_out_replacement(handle, name)) return find_replaced(handle, name);
    JUMP real_dlsym(handle, name);
}

/* ---- installing */

static bool has_sanitizer(void) {
    static const char *const entry_points[] = {"__asan_init", "__tsan_init", "__msan_init",
                                               "__hwasan_init", "__lsan_init"};
    for (size_t at = 0; at < sizeof entry_points / sizeof *entry_points; at++)
        if (dlsym(RTLD_DEFAULT, entry_points[at])) return true;
    return false;
}

static bool is_operator(const char *name) { return name[0] == '_' && name[1] == 'Z'; }

static void find_originals(void) {
    bool has_own_new = elf_is_defined_together("_Znwm", "malloc");
    for (size_t at = 0; at < REPLACEMENTS; at++) {
        const Replacement *item = &replacements[at];
        if (is_operator(item->name) && !has_own_new) continue;
        *item->original = elf_find_definition(item->name);
    }
    interpreter = elf_range_of("PyMem_SetAllocator");
    usable_size = (size_t(*)(void *))elf_find_definition("malloc_usable_size");
}

static bool sample_slot_is(const void *function) {
    void *const *slot = elf_sample_slot();
    return slot && __atomic_load_n(slot, __ATOMIC_ACQUIRE) == function;
}

static bool sample_slot_is_hooked(void) {
    for (size_t at = 0; at < REPLACEMENTS; at++)
        if (sample_slot_is(replacements[at].replacement)) return true;
    return false;
}

static bool sample_slot_is_unhooked(void) {
    for (size_t at = 0; at < REPLACEMENTS; at++)
        if (*replacements[at].original && sample_slot_is(*replacements[at].original)) return true;
    return false;
}

NativeState native_hooks_state(void) {
    if (state != NATIVE_HOOKED) return state;
    return sample_slot_is_hooked() ? NATIVE_HOOKED : NATIVE_DISPLACED;
}

NativeState native_hooks_install(void) {
    if (has_sanitizer()) return state = NATIVE_SANITIZER;
    if (state != NATIVE_HOOKED) find_originals();
    if (!real_malloc || !real_free || !real_realloc) return state = NATIVE_NO_SLOTS;
    elf_replace(replacements, REPLACEMENTS, true);
    state = elf_sample_slot() ? NATIVE_HOOKED : NATIVE_NO_SLOTS;
    return native_hooks_state();
}

void native_hooks_uninstall(void) {
    if (state != NATIVE_HOOKED) return;
    elf_restore(replacements, REPLACEMENTS);
    state = NATIVE_NOT_INSTALLED;
}

void native_hooks_refresh(void) {
    if (state != NATIVE_HOOKED || atomic_load(&core.is_child)) return;
    int saved_errno = errno;
    bool is_undone = sample_slot_is_unhooked();
    if (is_undone || elf_has_new_objects()) elf_replace(replacements, REPLACEMENTS, is_undone);
    errno = saved_errno;
}

size_t native_hooks_replaced(void) { return elf_slot_counts().replaced; }
size_t native_hooks_foreign(void) { return elf_slot_counts().foreign; }

#else

NativeState native_hooks_install(void) { return NATIVE_UNSUPPORTED; }
void native_hooks_uninstall(void) {}
NativeState native_hooks_state(void) { return NATIVE_UNSUPPORTED; }
void native_hooks_refresh(void) {}
size_t native_hooks_replaced(void) { return 0; }
size_t native_hooks_foreign(void) { return 0; }

#endif
