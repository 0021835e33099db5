/* C++: operator new and delete. The C++ library's own call malloc, which is seen there; those of
   jemalloc, tcmalloc and mimalloc do not. Depth stays as it is, because operator new may throw
   through us: a block that malloc has entered meanwhile is not entered again.

   A C++ library that a program opens later may be out of our sight; its operators are what ours are
   without one: malloc and free. All forms have at most three arguments, in registers: handing on one
   too many does no harm. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "cells.h"
#include "functions.h"
#include "live.h"

typedef void *(*New)(size_t, uintptr_t, uintptr_t);
typedef void (*Delete)(void *, uintptr_t, uintptr_t);

#define MISSING ((void *)-1)

static void *in_opened_library(const char *name) {
    static const char *const libraries[] = {"libstdc++.so.6", "libc++.so.1", "libc++abi.so.1"};
    for (size_t at = 0; at < sizeof libraries / sizeof *libraries; at++) {
        void *handle = dlopen(libraries[at], RTLD_LAZY | RTLD_NOLOAD);
        void *function = handle ? dlsym(handle, name) : NULL;
        if (handle) dlclose(handle);
        if (function) return function;
    }
    return NULL;
}

/* The C++ library's own operator new is malloc, and what it does when there is no memory. */
static bool is_plain(void *function) {
    Dl_info info;
    if (!dladdr(function, &info) || !info.dli_fname) return false;
    return strstr(info.dli_fname, "/libstdc++") || strstr(info.dli_fname, "/libc++");
}

/* Of both, so that what one of them allocates is freed by its like. Set by the first use of any. */
static _Atomic int plain; /* 0: not known, 1: malloc and free, 2: an allocator's own */

static void note_plain(void *function) {
    if (!atomic_load_explicit(&plain, memory_order_relaxed))
        atomic_store_explicit(&plain, is_plain(function) ? 1 : 2, memory_order_relaxed);
}

static inline bool goes_to_malloc(void) {
    return LIKELY(atomic_load_explicit(&plain, memory_order_relaxed) == 1);
}

/* NULL where there is none. */
static void *find(_Atomic(void *) *found, const char *name) {
    void *function = atomic_load_explicit(found, memory_order_relaxed);
    if (UNLIKELY(!function)) {
        function = next_function(name);
        live_thread.depth++;
        if (!function) function = in_opened_library(name);
        if (function) note_plain(function);
        live_thread.depth--;
        atomic_store_explicit(found, function ? function : MISSING, memory_order_relaxed);
    }
    return function == MISSING ? NULL : function;
}

static void *without_library(size_t size, size_t alignment, bool may_fail) {
    size_t least = size ? size : 1;
    void *block = alignment ? memalign(alignment, least) : malloc(least);
    if (!block && !may_fail) abort();
    return block;
}

/* Slow where it is rare: what is not malloc, and what there is no memory for. */
#define DEFINE_NEW(name, alignment, may_fail)                                                      \
    RARE static void *slow##name(size_t size, uintptr_t second, uintptr_t third) {                 \
        static _Atomic(void *) found;                                                              \
        (void)second;                                                                              \
        New real = (New)find(&found, #name);                                                       \
        if (!(alignment) && goes_to_malloc()) return real(size, second, third);                    \
        if (UNLIKELY(!real)) return without_library(size, alignment, may_fail);                    \
        void *block = real(cells_asked(size), second, third);                                      \
        if (block && live_thread.depth == 0 && live_counts() && !cells_has(block))                 \
            block_allocated(block, size);                                                          \
        return block;                                                                              \
    }                                                                                              \
    PUBLIC void *name(size_t size, uintptr_t second, uintptr_t third) {                            \
        if (!(alignment) && goes_to_malloc()) {                                                    \
            void *block = malloc(size ? size : 1);                                                 \
            if (LIKELY(block)) return block;                                                       \
        }                                                                                          \
        return slow##name(size, second, third);                                                    \
    }

#define DEFINE_DELETE(name)                                                                        \
    RARE static void slow##name(void *block, uintptr_t second, uintptr_t third) {                  \
        static _Atomic(void *) found;                                                              \
        Delete real = (Delete)find(&found, #name);                                                 \
        if (UNLIKELY(!real)) {                                                                     \
            free(block);                                                                           \
            return;                                                                                \
        }                                                                                          \
        block_freed(block);                                                                        \
        real(block, second, third);                                                                \
    }                                                                                              \
    PUBLIC void name(void *block, uintptr_t second, uintptr_t third) {                             \
        if (goes_to_malloc())                                                                      \
            free(block);                                                                           \
        else                                                                                       \
            slow##name(block, second, third);                                                      \
    }

/* The size is left out: what is asked for need not be what the block was asked with. */
#define DEFINE_SIZED_DELETE(name, unsized)                                                         \
    PUBLIC void name(void *block, uintptr_t size, uintptr_t third) {                               \
        (void)size;                                                                                \
        if (goes_to_malloc())                                                                      \
            free(block);                                                                           \
        else                                                                                       \
            slow##unsized(block, third, 0);                                                        \
    }

#define DECLARE_NEW(name) PUBLIC void *name(size_t, uintptr_t, uintptr_t);
#define DECLARE_DELETE(name) PUBLIC void name(void *, uintptr_t, uintptr_t);

#define NEW_FORMS(form)                                                                            \
    form(_Znwm, 0, false) form(_Znam, 0, false)                                                    \
    form(_ZnwmRKSt9nothrow_t, 0, true) form(_ZnamRKSt9nothrow_t, 0, true)                          \
    form(_ZnwmSt11align_val_t, second, false) form(_ZnamSt11align_val_t, second, false)            \
    form(_ZnwmSt11align_val_tRKSt9nothrow_t, second, true)                                         \
    form(_ZnamSt11align_val_tRKSt9nothrow_t, second, true)

#define DELETE_FORMS(form)                                                                         \
    form(_ZdlPv) form(_ZdaPv) form(_ZdlPvRKSt9nothrow_t) form(_ZdaPvRKSt9nothrow_t)                \
    form(_ZdlPvSt11align_val_t) form(_ZdaPvSt11align_val_t)                                        \
    form(_ZdlPvSt11align_val_tRKSt9nothrow_t) form(_ZdaPvSt11align_val_tRKSt9nothrow_t)

#define SIZED_DELETE_FORMS(form)                                                                   \
    form(_ZdlPvm, _ZdlPv) form(_ZdaPvm, _ZdaPv)                                                    \
    form(_ZdlPvmSt11align_val_t, _ZdlPvSt11align_val_t)                                            \
    form(_ZdaPvmSt11align_val_t, _ZdaPvSt11align_val_t)

#define DECLARE_SIZED_DELETE(name, unsized) DECLARE_DELETE(name)
#define DECLARE_NEW_FORM(name, alignment, may_fail) DECLARE_NEW(name)
NEW_FORMS(DECLARE_NEW_FORM)
DELETE_FORMS(DECLARE_DELETE)
SIZED_DELETE_FORMS(DECLARE_SIZED_DELETE)

NEW_FORMS(DEFINE_NEW)
DELETE_FORMS(DEFINE_DELETE)
SIZED_DELETE_FORMS(DEFINE_SIZED_DELETE)
