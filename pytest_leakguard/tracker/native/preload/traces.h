/* Which calls allocate what stays: the stacks of blocks and mappings, from when the harness asks for
   them on, which it does once a leak is confirmed. Until then a trace costs nothing: the question
   travels with the epoch, in a bit that makes it larger than any.

   A freed block is not taken out here, so that free costs what it did: whoever reads asks the cells
   whether the block is still there. Tables of a fixed size; where they are full, what was freed is
   thrown out, and after that fewer blocks are traced. tracker/traces.py reads the same layout. */
#ifndef LEAKGUARD_TRACES_H
#define LEAKGUARD_TRACES_H

#include <stddef.h>
#include <stdint.h>

#include "live.h"

#define TRACED_DEEPEST 48
#define TRACED_STACKS (1u << 12)
#define TRACED_BLOCKS (1u << 16)
/* In place of an epoch: the entry is a mapping, not a block. */
#define TRACED_MAPPING UINT32_MAX
/* The same of what is no memory, where the address is a number, in the bits above the granule. */
#define TRACED_DESCRIPTOR (UINT32_MAX - 1)
#define TRACED_THREAD (UINT32_MAX - 2)
#define TRACED_CHILD (UINT32_MAX - 3)

typedef struct {
    uint64_t hash; /* 0: free */
    uint64_t depth;
    uint64_t frames[TRACED_DEEPEST]; /* innermost first */
    /* Where the interpreter's own calls are, as text that ends with a zero byte; 0: nowhere. */
    uint64_t interpreted;
} TracedStack;

typedef struct {
    /* Its bits inverted, so that whoever looks for what leads to a block does not find it here. 0: free */
    uint64_t address;
    uint64_t size_bytes;
    /* What of it came since tracing began: less than its size where an older block has grown. */
    uint64_t added_bytes;
    uint32_t epoch;
    uint32_t stack;
    /* It stands for so many. */
    uint32_t weight;
    uint32_t reserved;
} TracedBlock;

typedef struct {
    _Atomic(TracedBlock *) blocks;
    TracedStack *stacks;
    uint32_t deepest, stacks_size, blocks_size;
    /* Each so many-th block is traced. */
    _Atomic uint32_t interval;
    /* What could not be kept. */
    _Atomic uint64_t dropped;
} Traces;

extern Traces traces;

/* All three for the outermost call of an allocator. */
RARE void traces_block(void *block, size_t size_bytes, uint32_t epoch);
RARE void traces_grown(void *before, size_t before_bytes, void *block, size_t size_bytes,
                       uint32_t epoch);
RARE void traces_mapping(void *start, size_t size_bytes);
/* What was opened or started, by its number; of a thread only that it was. */
RARE void traces_descriptor(int file);
RARE void traces_thread(void);
RARE void traces_child(int child);
/* The interpreter writes its calls there when its signal comes; a file of -1: no longer. */
PUBLIC void leakguard_live_lines(int file, int signal);
/* In a forked child: the file is its parent's. */
void traces_forget_lines(void);

#endif
