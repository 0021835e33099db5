/* A C library as tests load it: allocations through every function that is watched. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void *keep_malloc(size_t size) { return malloc(size); }
void *keep_calloc(size_t count, size_t size) { return calloc(count, size); }
void *keep_realloc(void *block, size_t size) { return realloc(block, size); }
void *keep_reallocarray(void *block, size_t count, size_t size) { return reallocarray(block, count, size); }
void *keep_aligned_alloc(size_t alignment, size_t size) { return aligned_alloc(alignment, size); }
void *keep_memalign(size_t alignment, size_t size) { return memalign(alignment, size); }
void *keep_valloc(size_t size) { return valloc(size); }
void *keep_posix_memalign(size_t alignment, size_t size) {
    void *block = NULL;
    return posix_memalign(&block, alignment, size) ? NULL : block;
}
void release(void *block) { free(block); }

/* Allocated inside the C library. */
char *keep_strdup(const char *text) { return strdup(text); }
char *keep_asprintf(const char *text) {
    char *result = NULL;
    return asprintf(&result, "%s!", text) < 0 ? NULL : result;
}
char *keep_getline(const char *path) {
    char *line = NULL;
    size_t size = 0;
    FILE *file = fopen(path, "r");
    ssize_t length = getline(&line, &size, file);
    fclose(file);
    return length < 0 ? NULL : line;
}

/* Function pointers in data: an absolute relocation. */
static struct {
    void *(*allocate)(size_t);
    void (*release)(void *);
} volatile functions = {malloc, free};
void *keep_through_pointer(size_t size) { return functions.allocate(size); }
void release_through_pointer(void *block) { functions.release(block); }

void *keep_mapping(size_t size) { return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }
void *resize_mapping(void *start, size_t old, size_t size) { return mremap(start, old, size, MREMAP_MAYMOVE); }
int unmap(void *start, size_t size) { return munmap(start, size); }
int map_over(void *start, size_t size) {
    void *got = mmap(start, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    return got == start ? 0 : -1;
}

/* What must not crash. Returns errno of the last call that failed, to see that it is kept. */
int provoke(void) {
    volatile size_t huge = (size_t)-1 / 2;
    free(NULL);
    free(realloc(NULL, 8));
    void *block = malloc(16);
    block = realloc(block, 0);
    free(block);
    free(malloc(0));
    void *unaligned;
    if (posix_memalign(&unaligned, 3, 8) == 0) return -1;
    if (munmap((void *)1, 1) == 0) return -1;
    if (calloc(huge, huge) || reallocarray(NULL, huge, huge)) return -1;
    block = malloc(32);
    void *kept = realloc(block, huge);
    if (kept) return -1;
    free(block);
    errno = 0;
    if (malloc(huge)) return -1;
    return errno;
}

int errno_after_free(void *block) {
    errno = ELOOP;
    free(block);
    return errno;
}

/* Threads that allocate and free: keeps one block in each when asked. */
typedef struct {
    int rounds;
    int keep;
} Work;
static void *hammer_once(void *argument) {
    Work *work = argument;
    void *held[64] = {0};
    unsigned seed = (unsigned)(size_t)&held;
    for (int round = 0; round < work->rounds; round++) {
        unsigned at = (seed = seed * 1103515245 + 12345) >> 16 & 63;
        unsigned kind = seed >> 8 & 3;
        size_t size = seed >> 20;
        if (kind == 0 && held[at]) {
            held[at] = realloc(held[at], size + 1);
            continue;
        }
        free(held[at]);
        held[at] = kind == 1 ? calloc(1, size) : malloc(size);
    }
    for (int at = 0; at < 64; at++) free(held[at]);
    if (work->keep && !malloc(100)) return argument;
    return NULL;
}
static pthread_t threads[16];
static Work work;
void hammer_start(int count, int rounds, int keep) {
    work = (Work){rounds, keep};
    for (int at = 0; at < count; at++) pthread_create(&threads[at], NULL, hammer_once, &work);
}
void hammer_join(int count) {
    for (int at = 0; at < count; at++) pthread_join(threads[at], NULL);
}

/* The caller decides what dlopen finds along its RUNPATH, and what RTLD_NEXT means. */
int opens_along_runpath(const char *name) {
    void *handle = dlopen(name, RTLD_NOW);
    if (!handle) return 0;
    dlclose(handle);
    return 1;
}
void *look_up(void *handle, const char *name) { return dlsym(handle, name); }
void *look_up_next(const char *name) { return dlsym(RTLD_NEXT, name); }
