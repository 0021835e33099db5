/* Which words outside of all blocks lead to some of another process's: its global variables. */
#ifndef LEAKGUARD_BLOCK_ROOTS_H
#define LEAKGUARD_BLOCK_ROOTS_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t begin, end;
} RootRange;

typedef struct {
    uint64_t address;
    /* Of the blocks that were asked for and that this word is the nearest to lead to. */
    uint64_t bytes;
} BlockRoot;

/* The words in these ranges that lead to the blocks asked for, whose addresses are in order, also
   through other blocks; at most `most` of them, those that lead to most first. 0: done; else an
   errno. */
int block_roots(int pid, uint64_t cells_root, const uint64_t *asked, size_t asked_count,
                const RootRange *ranges, size_t count, BlockRoot *roots, size_t most);

#endif
