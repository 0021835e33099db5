/* Python's allocators as its C interface has them, so that no Python headers are needed. */
#ifndef LEAKGUARD_PYTHON_ALLOCATORS_H
#define LEAKGUARD_PYTHON_ALLOCATORS_H

#include <stddef.h>

/* PyMemAllocatorEx: the same since Python 3.5.
   https://docs.python.org/3/c-api/memory.html#c.PyMemAllocatorEx */
typedef struct {
    void *context;
    void *(*malloc)(void *context, size_t size);
    void *(*calloc)(void *context, size_t count, size_t size);
    void *(*realloc)(void *context, void *block, size_t size);
    void (*free)(void *context, void *block);
} Allocator;

/* PyObjectArenaAllocator. */
typedef struct {
    void *context;
    void *(*alloc)(void *context, size_t size);
    void (*free)(void *context, void *arena, size_t size);
} ArenaAllocator;

/* Of PyMemAllocatorDomain; 0 is RAW, which calls malloc where we see it. */
enum { PYMEM_DOMAIN_MEM = 1, PYMEM_DOMAIN_OBJ = 2, PYMEM_DOMAINS };

#endif
