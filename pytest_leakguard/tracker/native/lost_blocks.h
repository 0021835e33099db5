/* Which blocks of another process nothing leads to any more: they can never be given back. */
#ifndef LEAKGUARD_LOST_BLOCKS_H
#define LEAKGUARD_LOST_BLOCKS_H

#include <stdint.h>

typedef struct {
    uint64_t blocks, bytes;
    uint64_t lost_blocks, lost_bytes;
    /* Of the epochs that nothing leads to but blocks of the next ones: links of a chain that begins
       with the newest. Without the last epochs, whose followers were not asked for. */
    uint64_t linked_bytes, chained_bytes;
} LostBlocks;

/* Blocks of the epochs first..last in a process that has the preloaded library inside, whose cells
   begin at `cells_root`. At most `most_bytes` of memory are searched. 0: done; else an errno. */
int lost_blocks(int pid, uint64_t cells_root, uint32_t first, uint32_t last, uint64_t most_bytes,
                LostBlocks *found);

#endif
