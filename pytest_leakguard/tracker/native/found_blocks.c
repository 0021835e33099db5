#define _GNU_SOURCE
#include "found_blocks.h"

#ifdef __linux__

#include <stdlib.h>
#include <unistd.h>

#include "preload/layout.h"

#define MOST_BLOCKS ((size_t)1 << 20)

typedef struct {
    int memory;
    uint32_t first, last;
    Blocks *asked, *others;
} Search;

bool found_read(int memory, uint64_t address, void *into, size_t size_bytes) {
    return pread(memory, into, size_bytes, (off_t)address) == (ssize_t)size_bytes;
}

static bool add_block(Blocks *blocks, uint64_t address, uint64_t size_bytes, uint32_t epoch) {
    if (blocks->used == blocks->capacity) {
        size_t capacity = blocks->capacity ? blocks->capacity * 2 : 1024;
        Found *more = capacity > MOST_BLOCKS
                          ? NULL
                          : realloc(blocks->blocks, capacity * sizeof *blocks->blocks);
        if (!more) return false;
        blocks->blocks = more;
        blocks->capacity = capacity;
    }
    blocks->blocks[blocks->used++] = (Found){address, address + size_bytes, epoch, false};
    return true;
}

/* Cells of one page, and two more for a large block at its end, whose size is then not known. */
#define CELLS ((size_t)1 << (PAGE_LOG2 - GRANULE_LOG2))

static bool add_page(Search *search, uint64_t page, uint64_t begin) {
    uint32_t cells[CELLS + 2] = {0};
    if (!found_read(search->memory, page, cells, CELLS * sizeof *cells)) return true; /* gone meanwhile */
    for (size_t at = 0; at < CELLS; at++) {
        uint32_t epoch = cells[at] >> SIZE_BITS, size = cells[at] & SIZE_MASK;
        if (!cells[at]) continue;
        uint64_t size_bytes = size - 1;
        if (size == LARGE) {
            size_bytes = cells[at + 1] | (uint64_t)cells[at + 2] << 32;
            at += 2;
        }
        Blocks *into = epoch < search->first || epoch > search->last ? search->others : search->asked;
        uint64_t address = begin + ((uint64_t)(at - (size == LARGE ? 2 : 0)) << GRANULE_LOG2);
        if (!add_block(into, address, size_bytes, epoch)) return false;
    }
    return true;
}

/* A table of pointers; `shift` is how much address space each of them stands for. */
static bool add_table(Search *search, uint64_t table, unsigned count_log2, uint64_t begin,
                      unsigned shift) {
    size_t count = (size_t)1 << count_log2;
    uint64_t *entries = malloc(count * sizeof *entries);
    if (!entries) return false;
    bool is_done = true;
    if (found_read(search->memory, table, entries, count * sizeof *entries)) {
        for (size_t at = 0; at < count && is_done; at++) {
            uint64_t below = begin + ((uint64_t)at << shift);
            if (!entries[at]) continue;
            is_done = shift == PAGE_LOG2 ? add_page(search, entries[at], below)
                                         : add_table(search, entries[at], NODE_LOG2, below,
                                                     shift - NODE_LOG2);
        }
    }
    free(entries);
    return is_done;
}

bool found_blocks(int memory, uint64_t cells_root, uint32_t first, uint32_t last, Blocks *asked,
                  Blocks *others) {
    Search search = {memory, first, last, asked, others};
    return add_table(&search, cells_root, ROOT_LOG2, 0, PAGE_LOG2 + 2 * NODE_LOG2);
}

/* The first block that ends after the address. */
size_t found_first_after(const Blocks *blocks, uint64_t address) {
    size_t low = 0, high = blocks->used;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (blocks->blocks[middle].end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

#endif
