/* The functions that programs call to allocate, in place of those behind them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "cells.h"
#include "functions.h"
#include "live.h"
#include "traces.h"

/* ---- what is asked for while the functions behind are looked up */

#define FIRST_BYTES 65536
static _Alignas(16) char first_memory[FIRST_BYTES];
static _Atomic size_t first_used;

static bool is_first(const void *block) {
    return (const char *)block >= first_memory && (const char *)block < first_memory + FIRST_BYTES;
}

/* Never given back. Its size is kept before it, for realloc. */
RARE static void *first_allocate(size_t size_bytes) {
    size_t whole = ((size_bytes + 15) & ~(size_t)15) + 16;
    size_t at = atomic_fetch_add(&first_used, whole);
    if (whole < size_bytes || at + whole > FIRST_BYTES) return NULL;
    memcpy(first_memory + at, &size_bytes, sizeof size_bytes);
    return first_memory + at + 16;
}

static void *first_move(void *block, size_t size_bytes) {
    size_t before;
    memcpy(&before, (char *)block - 16, sizeof before);
    void *moved = malloc(size_bytes);
    if (moved) memcpy(moved, block, before < size_bytes ? before : size_bytes);
    return moved;
}

void *next_function(const char *name) {
    int saved_errno = errno;
    bool was_looking_up = live_thread.is_looking_up;
    live_thread.is_looking_up = true;
    live_thread.depth++;
    void *function = dlsym(RTLD_NEXT, name);
    live_thread.depth--;
    live_thread.is_looking_up = was_looking_up;
    errno = saved_errno;
    return function;
}

/* ---- the malloc family */

#define ALLOCATE(size_bytes, call)                                                                 \
    live_thread.depth++;                                                                                  \
    void *allocated = call;                                                                        \
    live_thread.depth--;                                                                                  \
    block_allocated(allocated, size_bytes);                                                        \
    return allocated

/* Without counting the depth, which would take as long as all else here: what an allocator maps on
   the way is told by its caller. */
static void *live_malloc(size_t size) {
    if (UNLIKELY(live_thread.is_looking_up)) return first_allocate(size);
    void *allocated = REAL(malloc)(cells_asked(size));
    block_allocated(allocated, size);
    return allocated;
}

PUBLIC void *malloc(size_t) __attribute__((alias("live_malloc")));

PUBLIC void *calloc(size_t count, size_t size) {
    if (UNLIKELY(live_thread.is_looking_up)) return first_allocate(count * size);
    bool is_small = size < ((size_t)1 << GRANULE_LOG2) && count < ((size_t)1 << GRANULE_LOG2);
    ALLOCATE(count * size, is_small ? REAL(calloc)(1, cells_asked(count * size))
                                    : REAL(calloc)(count, size));
}

PUBLIC void free(void *block) {
    if (UNLIKELY(is_first(block))) return;
    block_freed(block);
    /* dlsym frees the text of the program's last failed look-up, also while it looks up free. */
    if (UNLIKELY(live_thread.is_looking_up)) return;
    REAL(free)(block);
}

/* A block that was not tracked grows in nobody's name: it was there before. */
static void resized(void *old, const Block *before, void *block, size_t size_bytes) {
    if (live_thread.depth != 0 || !live_counts()) return;
    bool is_known = before->size_bytes != NO_BLOCK;
    uint32_t epoch = is_known ? before->epoch : 0;
    cells_put(block, size_bytes, epoch);
    if (live_is_traced() && is_known) traces_grown(old, before->size_bytes, block, size_bytes, epoch);
}

/* Out before the call, as another thread may get its address. */
static void *resize(void *block, size_t size) {
    Block before = live_counts() ? cells_take(block) : (Block){NO_BLOCK, 0};
    live_thread.depth++;
    void *moved = REAL(realloc)(block, size ? cells_asked(size) : 0);
    live_thread.depth--;
    if (moved)
        resized(block, &before, moved, size);
    else if (size && before.size_bytes != NO_BLOCK)
        resized(block, &before, block, before.size_bytes);
    return moved;
}

PUBLIC void *realloc(void *block, size_t size) {
    if (UNLIKELY(is_first(block))) return first_move(block, size);
    if (block) return resize(block, size);
    if (UNLIKELY(live_thread.is_looking_up)) return first_allocate(size);
    ALLOCATE(size, REAL(realloc)(NULL, cells_asked(size)));
}

PUBLIC void *reallocarray(void *block, size_t count, size_t size) {
    size_t size_bytes;
    if (__builtin_mul_overflow(count, size, &size_bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(block, size_bytes);
}

PUBLIC int posix_memalign(void **block, size_t alignment, size_t size) {
    live_thread.depth++;
    int error = REAL(posix_memalign)(block, alignment, cells_asked(size));
    live_thread.depth--;
    if (!error) block_allocated(*block, size);
    return error;
}

/* Some want a multiple of the alignment. */
static size_t aligned_size(size_t alignment, size_t size) {
    return alignment <= ((size_t)1 << GRANULE_LOG2) ? cells_asked(size) : size;
}

PUBLIC void *aligned_alloc(size_t alignment, size_t size) {
    ALLOCATE(size, REAL(aligned_alloc)(alignment, aligned_size(alignment, size)));
}

PUBLIC void *memalign(size_t alignment, size_t size) {
    ALLOCATE(size, REAL(memalign)(alignment, cells_asked(size)));
}

PUBLIC void *valloc(size_t size) { ALLOCATE(size, REAL(valloc)(size)); }

PUBLIC void *pvalloc(size_t size) { ALLOCATE(size, REAL(pvalloc)(size)); }

/* C23; where the library behind has them not, free is the same. */
PUBLIC void free_sized(void *block, size_t size) {
    (void)size;
    free(block);
}

PUBLIC void free_aligned_sized(void *block, size_t alignment, size_t size) {
    (void)alignment;
    (void)size;
    free(block);
}

/* ---- jemalloc's own functions. Programs ask whether these are there, so they are only where the
   allocator behind has them: by dlsym they are not found with others, and calls fail as before. */

void *mallocx(size_t, int);
void *rallocx(void *, size_t, int);
size_t xallocx(void *, size_t, size_t, int);
void dallocx(void *, int);
void sdallocx(void *, size_t, int);

PUBLIC void *mallocx(size_t size, int flags) { ALLOCATE(size, REAL(mallocx)(cells_asked(size), flags)); }

PUBLIC void *rallocx(void *block, size_t size, int flags) {
    Block before = live_counts() ? cells_take(block) : (Block){NO_BLOCK, 0};
    live_thread.depth++;
    void *moved = REAL(rallocx)(block, cells_asked(size), flags);
    live_thread.depth--;
    if (moved)
        resized(block, &before, moved, size);
    else if (before.size_bytes != NO_BLOCK)
        resized(block, &before, block, before.size_bytes);
    return moved;
}

PUBLIC size_t xallocx(void *block, size_t size, size_t extra, int flags) {
    Block before = live_counts() ? cells_take(block) : (Block){NO_BLOCK, 0};
    live_thread.depth++;
    size_t now = REAL(xallocx)(block, size, extra, flags);
    live_thread.depth--;
    resized(block, &before, block, now);
    return now;
}

PUBLIC void dallocx(void *block, int flags) {
    block_freed(block);
    REAL(dallocx)(block, flags);
}

/* Without the size: what is asked for need not be what the block was asked with. */
PUBLIC void sdallocx(void *block, size_t size, int flags) {
    (void)size;
    dallocx(block, flags);
}

/* ---- who is called */

static uintptr_t allocator_begin, allocator_end;

bool is_allocator(const void *caller) {
    return (uintptr_t)caller - allocator_begin < allocator_end - allocator_begin;
}

static int note_range(struct dl_phdr_info *object, size_t size, void *function) {
    (void)size;
    uintptr_t begin = UINTPTR_MAX, end = 0;
    for (int at = 0; at < object->dlpi_phnum; at++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[at];
        if (segment->p_type != PT_LOAD) continue;
        uintptr_t start = object->dlpi_addr + segment->p_vaddr;
        if (start < begin) begin = start;
        if (start + segment->p_memsz > end) end = start + segment->p_memsz;
    }
    if ((uintptr_t)function < begin || (uintptr_t)function >= end) return 0;
    allocator_begin = begin;
    allocator_end = end;
    return 1;
}

/* A program that defines malloc itself comes before us: then nothing is seen of what it allocates. */
__attribute__((constructor)) static void look_who_is_called(void) {
    live_thread.depth++;
    bool is_ours = dlsym(RTLD_DEFAULT, "malloc") == (void *)live_malloc;
    live_thread.depth--;
    dl_iterate_phdr(note_range, (void *)REAL(malloc));
    live_note_sight(is_ours ? SEES_ALL : HAS_OWN_MALLOC);
}
