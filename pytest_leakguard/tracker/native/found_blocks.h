/* The blocks of another process that has the preloaded library inside, by address. */
#ifndef LEAKGUARD_FOUND_BLOCKS_H
#define LEAKGUARD_FOUND_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t start, end;
    uint32_t epoch;
    bool is_reached;
} Found;

typedef struct {
    Found *blocks;
    size_t used, capacity;
} Blocks;

/* Memory of the process, from its /proc/PID/mem. */
bool found_read(int memory, uint64_t address, void *into, size_t size_bytes);

/* Those of the epochs first..last, and all others, in the order of their addresses. */
bool found_blocks(int memory, uint64_t cells_root, uint32_t first, uint32_t last, Blocks *asked,
                  Blocks *others);

/* The first block that ends after the address. */
size_t found_first_after(const Blocks *blocks, uint64_t address);

#endif
