/* Where the preloaded library keeps what it knows of each block: also read from another process. */
#ifndef LEAKGUARD_LAYOUT_H
#define LEAKGUARD_LAYOUT_H

/* An epoch (request batch) has 12 bits in a cell; epoch 0 is everything before the first batch. */
#define EPOCH_BITS 12

/* Every allocator places blocks of 16 bytes and more at multiples of 16; smaller ones are asked for
   as such, so that no two share a cell. */
#define GRANULE_LOG2 4
#define PAGE_LOG2 14 /* 16 KiB of blocks: 1,024 cells, 4 KiB */
#define NODE_LOG2 11 /* 2,048 pointers, 16 KiB */
#define ADDRESS_BITS 48
#define ROOT_LOG2 (ADDRESS_BITS - PAGE_LOG2 - 2 * NODE_LOG2)

/* A cell: epoch, and size + 1. 0: no block. */
#define SIZE_BITS (32 - EPOCH_BITS)
#define SIZE_MASK ((UINT32_C(1) << SIZE_BITS) - 1)
/* Larger blocks have their size in the two cells that follow, which belong to them. */
#define LARGE SIZE_MASK

#endif
