#define _GNU_SOURCE
#include "mappings.h"

#include <errno.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include "../ranges.h"
#include "functions.h"
#include "live.h"
#include "traces.h"

#define CALLER __builtin_return_address(0)

/* Since the functions here stand for the C library's own, the kernel is called. */
static Ranges ranges;
static _Atomic size_t used;

static void removed(const Range *old, size_t removed_bytes, int ranges_more) {
    live_count_mapping((uint32_t)old->value, -(int64_t)removed_bytes, ranges_more);
}

static size_t whole_pages(size_t size_bytes) {
    size_t page = (size_t)getpagesize();
    return (size_bytes + page - 1) & ~(page - 1);
}

static void lock(void) { live_lock(&live_own->mapping); }

static void unlock(void) {
    atomic_store_explicit(&used, ranges.used, memory_order_relaxed);
    live_unlock(&live_own->mapping);
}

void mappings_forget_lock(void) {
    /* A list that was being changed at the fork is not to be trusted. */
    if (ranges.used != used) ranges_clear(&ranges);
    used = ranges.used;
}

static void enter(void *start, size_t size_bytes, uint32_t epoch) {
    uintptr_t address = (uintptr_t)start;
    lock();
    ranges_remove(&ranges, address, address + size_bytes, removed);
    Range range = {address, address + size_bytes, epoch};
    if (ranges_insert(&ranges, range))
        live_count_mapping(epoch, (int64_t)size_bytes, 1);
    else
        live_note_lost();
    unlock();
}

static void leave(void *start, size_t size_bytes) {
    uintptr_t address = (uintptr_t)start;
    lock();
    ranges_remove(&ranges, address, address + size_bytes, removed);
    unlock();
}

/* Address space that nobody may touch is no memory. */
static bool is_counted(int protection, const void *caller) {
    return protection != PROT_NONE && live_thread.depth == 0 && !is_allocator(caller) && live_counts();
}

static void mapped_new(void *start, size_t size_bytes) {
    enter(start, size_bytes, live_epoch());
    if (live_is_traced()) traces_mapping(start, size_bytes);
}

static void *map(void *start, size_t size, int protection, int flags, int file, off_t at,
                 const void *caller) {
#ifdef SYS_mmap
    void *mapped = (void *)syscall(SYS_mmap, start, size, protection, flags, file, at);
#else
#error "no SYS_mmap: this platform needs mmap2"
#endif
    if (mapped != MAP_FAILED && is_counted(protection, caller))
        mapped_new(mapped, whole_pages(size));
    return mapped;
}

PUBLIC void *mmap(void *start, size_t size, int protection, int flags, int file, off_t at) {
    return map(start, size, protection, flags, file, at, CALLER);
}

#ifdef __GLIBC__
PUBLIC void *mmap64(void *start, size_t size, int protection, int flags, int file, off64_t at) {
    return map(start, size, protection, flags, file, (off_t)at, CALLER);
}
#endif

/* Before the call: afterwards another thread may be given the same pages. */
PUBLIC int munmap(void *start, size_t size) {
    bool is_aligned = ((uintptr_t)start & ((size_t)getpagesize() - 1)) == 0;
    if (used && live_thread.depth == 0 && is_aligned && size && !is_allocator(CALLER) && live_counts())
        leave(start, whole_pages(size));
    return (int)syscall(SYS_munmap, start, size);
}

/* The epoch of what is at an address; -1: nothing that we know. */
static int64_t epoch_of(void *start) {
    lock();
    const Range *range = ranges_find(&ranges, (uintptr_t)start);
    int64_t epoch = range ? (int64_t)range->value : -1;
    unlock();
    return epoch;
}

bool mappings_has(void *start) { return epoch_of(start) >= 0; }

PUBLIC void *mremap(void *old, size_t old_size, size_t size, int flags, ...) {
    va_list more;
    va_start(more, flags);
    void *wanted = flags & MREMAP_FIXED ? va_arg(more, void *) : NULL;
    va_end(more);
    bool is_known = used && live_thread.depth == 0 && !is_allocator(CALLER) && live_counts();
    int64_t epoch = is_known ? epoch_of(old) : -1;
    void *start = (void *)syscall(SYS_mremap, old, old_size, size, flags, wanted);
    if (start == MAP_FAILED || epoch < 0) return start;
    int saved_errno = errno;
    if (old_size) leave(old, whole_pages(old_size));
    enter(start, whole_pages(size), (uint32_t)epoch);
    errno = saved_errno;
    return start;
}
