/* Which object of Python's has a block: the list of its items, the dict of its table. Only reads
   memory; refers to nothing. */
#ifndef LEAKGUARD_OWNERS_H
#define LEAKGUARD_OWNERS_H

#include <stddef.h>
#include <stdint.h>

#define NO_OWNER UINT64_MAX

/* Where the interpreter keeps what is needed, in bytes. */
typedef struct {
    uint64_t type;       /* in an object: the address of its type */
    uint64_t basic_size; /* in a type: the size of its objects */
} ObjectLayout;

/* For each of the blocks, the place in `objects` of one that has its address among its first
   fields, or NO_OWNER. The objects must stay alive meanwhile. */
void owners_find(const uintptr_t *objects, uint64_t object_count, const uintptr_t *blocks,
                 uint64_t block_count, const ObjectLayout *layout, uint64_t *owners);

#endif
