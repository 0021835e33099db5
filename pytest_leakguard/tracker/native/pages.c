#define _GNU_SOURCE
#include "pages.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/syscall.h>
#endif

#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
#endif

/* The raw call: in a preloaded build the function `mmap` is our own. */
static void *map_anonymous(size_t size_bytes) {
    int protection = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS;
#if defined(__linux__) && defined(SYS_mmap)
    return (void *)syscall(SYS_mmap, NULL, size_bytes, protection, flags, -1, 0L);
#else
    return mmap(NULL, size_bytes, protection, flags, -1, 0);
#endif
}

void *pages_map(size_t size_bytes) {
    int saved_errno = errno;
    void *start = map_anonymous(size_bytes);
    errno = saved_errno;
    return start == MAP_FAILED || (intptr_t)start == -1 ? NULL : start;
}

void pages_empty(void *start, size_t size_bytes) {
    int saved_errno = errno;
#ifdef __linux__
    if (madvise(start, size_bytes, MADV_DONTNEED) != 0)
#endif
        memset(start, 0, size_bytes); /* elsewhere DONTNEED need not empty private pages */
    errno = saved_errno;
}

void pages_unmap(void *start, size_t size_bytes) {
    int saved_errno = errno;
#if defined(__linux__) && defined(SYS_munmap)
    syscall(SYS_munmap, start, size_bytes);
#else
    munmap(start, size_bytes);
#endif
    errno = saved_errno;
}
