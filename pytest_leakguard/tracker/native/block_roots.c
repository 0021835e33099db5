/* Breadth first, from the words of all ranges at once, so that each block is told by the word that is
   the fewest steps away. The process is not stopped: it rests between two requests. */
#define _GNU_SOURCE
#include "block_roots.h"

#ifdef __linux__

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "found_blocks.h"

#define PIECE_BYTES ((size_t)1 << 16)

typedef struct {
    int memory;
    Blocks blocks, none;
    uint64_t *roots; /* of each block the address of the word; 0: not reached */
    size_t *queue, begun, queued;
    uint64_t piece[PIECE_BYTES / 8];
} Search;

static void reach(Search *search, uint64_t word, uint64_t root) {
    size_t at = found_first_after(&search->blocks, word);
    if (at >= search->blocks.used || search->blocks.blocks[at].start > word || search->roots[at])
        return;
    search->roots[at] = root;
    search->queue[search->queued++] = at;
}

/* Each word of the range; `root` of 0: the word is the root itself. */
static void look_into(Search *search, uint64_t begin, uint64_t end, uint64_t root) {
    for (begin = (begin + 7) & ~UINT64_C(7); begin + 8 <= end;) {
        uint64_t left = (end - begin) & ~UINT64_C(7);
        size_t size_bytes = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
        if (!found_read(search->memory, begin, search->piece, size_bytes)) return;
        for (size_t at = 0; at < size_bytes / 8; at++)
            if (search->piece[at]) reach(search, search->piece[at], root ? root : begin + at * 8);
        begin += size_bytes;
    }
}

static int by_address(const void *one, const void *other) {
    uint64_t a = ((const BlockRoot *)one)->address, b = ((const BlockRoot *)other)->address;
    return a < b ? -1 : a > b;
}

static int by_size(const void *one, const void *other) {
    uint64_t a = ((const BlockRoot *)one)->bytes, b = ((const BlockRoot *)other)->bytes;
    return a > b ? -1 : a < b;
}

static int by_number(const void *one, const void *other) {
    uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
    return a < b ? -1 : a > b;
}

static int add_up(const Search *search, const uint64_t *asked, size_t count, BlockRoot *roots,
                  size_t most) {
    BlockRoot *all = calloc(search->blocks.used + 1, sizeof *all);
    size_t used = 0, kept = 0;
    if (!all) return ENOMEM;
    for (size_t at = 0; at < search->blocks.used; at++) {
        const Found *block = &search->blocks.blocks[at];
        if (search->roots[at] && bsearch(&block->start, asked, count, sizeof *asked, by_number))
            all[used++] = (BlockRoot){search->roots[at], block->end - block->start};
    }
    qsort(all, used, sizeof *all, by_address);
    for (size_t at = 0; at < used; at++) {
        if (kept && all[kept - 1].address == all[at].address)
            all[kept - 1].bytes += all[at].bytes;
        else
            all[kept++] = all[at];
    }
    qsort(all, kept, sizeof *all, by_size);
    for (size_t at = 0; at < most; at++) roots[at] = at < kept ? all[at] : (BlockRoot){0, 0};
    free(all);
    return 0;
}

static int search_from(Search *search, const RootRange *ranges, size_t count) {
    search->roots = calloc(search->blocks.used + 1, sizeof *search->roots);
    search->queue = malloc((search->blocks.used + 1) * sizeof *search->queue);
    if (!search->roots || !search->queue) return ENOMEM;
    for (size_t at = 0; at < count; at++) look_into(search, ranges[at].begin, ranges[at].end, 0);
    while (search->begun < search->queued) {
        size_t at = search->queue[search->begun++];
        const Found *block = &search->blocks.blocks[at];
        look_into(search, block->start, block->end, search->roots[at]);
    }
    return 0;
}

int block_roots(int pid, uint64_t cells_root, const uint64_t *asked, size_t asked_count,
                const RootRange *ranges, size_t count, BlockRoot *roots, size_t most) {
    char path[64];
    Search *search = calloc(1, sizeof *search);
    if (!search) return ENOMEM;
    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    search->memory = open(path, O_RDONLY | O_CLOEXEC);
    int error = search->memory < 0 ? errno : 0;
    if (!error && !found_blocks(search->memory, cells_root, 0, UINT32_MAX, &search->blocks,
                                &search->none))
        error = ENOMEM;
    if (!error) error = search_from(search, ranges, count);
    if (!error) error = add_up(search, asked, asked_count, roots, most);
    if (search->memory >= 0) close(search->memory);
    free(search->blocks.blocks);
    free(search->roots);
    free(search->queue);
    free(search);
    return error;
}

#else

int block_roots(int pid, uint64_t cells_root, const uint64_t *asked, size_t asked_count,
                const RootRange *ranges, size_t count, BlockRoot *roots, size_t most) {
    (void)pid, (void)cells_root, (void)asked, (void)asked_count;
    (void)ranges, (void)count, (void)roots, (void)most;
    return -1;
}

#endif
