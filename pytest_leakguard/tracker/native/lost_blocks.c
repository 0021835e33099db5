/* As LeakSanitizer does, but from outside and for a few epochs: every aligned word in writable
   memory that lies in a block leads to it, unless the word itself is in a block that nothing leads
   to. Threads are not stopped, and registers not read: the service rests between two requests. */
#define _GNU_SOURCE
#include "lost_blocks.h"

#ifdef __linux__

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "preload/layout.h"

#define PIECE_BYTES ((size_t)1 << 20)
#define MOST_BLOCKS ((size_t)1 << 20)

typedef struct {
    uint64_t start, end;
    bool is_reached;
} Found;

typedef struct {
    int memory; /* /proc/PID/mem */
    Found *blocks;
    size_t used, capacity;
    size_t *queue; /* reached, and not yet looked into */
    size_t queued;
} Search;

static bool read_at(const Search *search, uint64_t address, void *into, size_t size_bytes) {
    return pread(search->memory, into, size_bytes, (off_t)address) == (ssize_t)size_bytes;
}

/* ---- the blocks */

static bool add_block(Search *search, uint64_t address, uint64_t size_bytes) {
    if (search->used == search->capacity) {
        size_t capacity = search->capacity ? search->capacity * 2 : 1024;
        Found *blocks = capacity > MOST_BLOCKS
                            ? NULL
                            : realloc(search->blocks, capacity * sizeof *search->blocks);
        if (!blocks) return false;
        search->blocks = blocks;
        search->capacity = capacity;
    }
    search->blocks[search->used++] = (Found){address, address + size_bytes, false};
    return true;
}

/* Cells of one page, and two more for a large block at its end, whose size is then not known. */
#define CELLS ((size_t)1 << (PAGE_LOG2 - GRANULE_LOG2))

static bool add_page(Search *search, uint64_t page, uint64_t begin, uint32_t first, uint32_t last) {
    uint32_t cells[CELLS + 2] = {0};
    if (!read_at(search, page, cells, CELLS * sizeof *cells)) return true; /* gone meanwhile */
    for (size_t at = 0; at < CELLS; at++) {
        uint32_t epoch = cells[at] >> SIZE_BITS, size = cells[at] & SIZE_MASK;
        if (!cells[at] || epoch < first || epoch > last) continue;
        uint64_t size_bytes = size - 1;
        if (size == LARGE) {
            size_bytes = cells[at + 1] | (uint64_t)cells[at + 2] << 32;
            at += 2;
        }
        if (!add_block(search, begin + ((uint64_t)(at - (size == LARGE ? 2 : 0)) << GRANULE_LOG2),
                       size_bytes))
            return false;
    }
    return true;
}

/* A table of pointers; `shift` is how much address space each of them stands for. */
static bool add_table(Search *search, uint64_t table, unsigned count_log2, uint64_t begin,
                      unsigned shift, uint32_t first, uint32_t last) {
    size_t count = (size_t)1 << count_log2;
    uint64_t *entries = malloc(count * sizeof *entries);
    if (!entries) return false;
    bool is_done = true;
    if (read_at(search, table, entries, count * sizeof *entries)) {
        for (size_t at = 0; at < count && is_done; at++) {
            uint64_t below = begin + ((uint64_t)at << shift);
            if (!entries[at]) continue;
            is_done = shift == PAGE_LOG2 ? add_page(search, entries[at], below, first, last)
                                         : add_table(search, entries[at], NODE_LOG2, below,
                                                     shift - NODE_LOG2, first, last);
        }
    }
    free(entries);
    return is_done;
}

/* ---- who leads to them; blocks are in the order of their addresses */

/* The first block that ends after the address. */
static size_t first_after(const Search *search, uint64_t address) {
    size_t low = 0, high = search->used;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (search->blocks[middle].end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void reach(Search *search, uint64_t word) {
    if (word < search->blocks[0].start || word >= search->blocks[search->used - 1].end) return;
    size_t at = first_after(search, word);
    Found *block = &search->blocks[at];
    if (block->start > word || block->is_reached) return;
    block->is_reached = true;
    search->queue[search->queued++] = at;
}

/* Words outside the blocks. */
static void look_into(Search *search, uint64_t begin, const uint64_t *words, size_t count) {
    size_t next = first_after(search, begin);
    for (size_t at = 0; at < count; at++) {
        uint64_t address = begin + at * sizeof *words;
        while (next < search->used && search->blocks[next].end <= address) next++;
        if (next < search->used && search->blocks[next].start <= address) continue;
        reach(search, words[at]);
    }
}

static void look_into_blocks(Search *search, uint64_t *piece) {
    while (search->queued) {
        const Found *block = &search->blocks[search->queue[--search->queued]];
        uint64_t at = (block->start + 7) & ~UINT64_C(7);
        while (at + 8 <= block->end) {
            uint64_t left = (block->end - at) & ~UINT64_C(7);
            size_t size_bytes = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
            if (!read_at(search, at, piece, size_bytes)) break;
            for (size_t word = 0; word < size_bytes / 8; word++) reach(search, piece[word]);
            at += size_bytes;
        }
    }
}

/* The tracker's own pages hold no pointers to blocks; devices may not be read. */
static bool is_searched(const char *line, const char *permissions) {
    if (permissions[0] != 'r' || permissions[1] != 'w') return false;
    if (strstr(line, "/leakguard-live-")) return false;
    const char *device = strstr(line, " /dev/");
    return !device || strstr(line, " /dev/shm/") || strstr(line, " /dev/zero");
}

static int look_into_memory(Search *search, int pid, uint64_t most_bytes, uint64_t *piece) {
    char path[64], line[4352];
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE *maps = fopen(path, "re");
    if (!maps) return errno;
    int error = 0;
    while (!error && fgets(line, sizeof line, maps)) {
        unsigned long begin, end;
        char permissions[8];
        if (sscanf(line, "%lx-%lx %7s", &begin, &end, permissions) != 3) continue;
        if (!is_searched(line, permissions)) continue;
        if (end - begin > most_bytes) error = EFBIG;
        most_bytes -= error ? 0 : end - begin;
        while (!error && begin < end) {
            size_t size_bytes = end - begin < PIECE_BYTES ? end - begin : PIECE_BYTES;
            if (read_at(search, begin, piece, size_bytes))
                look_into(search, begin, piece, size_bytes / sizeof *piece);
            begin += size_bytes;
        }
    }
    fclose(maps);
    return error;
}

static void count(const Search *search, LostBlocks *found) {
    for (size_t at = 0; at < search->used; at++) {
        const Found *block = &search->blocks[at];
        found->blocks++;
        found->bytes += block->end - block->start;
        if (block->is_reached) continue;
        found->lost_blocks++;
        found->lost_bytes += block->end - block->start;
    }
}

static int search_all(Search *search, int pid, uint64_t most_bytes, LostBlocks *found) {
    uint64_t *piece = malloc(PIECE_BYTES);
    search->queue = malloc((search->used + 1) * sizeof *search->queue);
    int error = piece && search->queue ? 0 : ENOMEM;
    if (!error && search->used) {
        error = look_into_memory(search, pid, most_bytes, piece);
        look_into_blocks(search, piece);
    }
    if (!error) count(search, found);
    free(piece);
    return error;
}

int lost_blocks(int pid, uint64_t cells_root, uint32_t first, uint32_t last, uint64_t most_bytes,
                LostBlocks *found) {
    char path[64];
    Search search = {0};
    *found = (LostBlocks){0};
    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    search.memory = open(path, O_RDONLY | O_CLOEXEC);
    if (search.memory < 0) return errno;
    bool is_done = add_table(&search, cells_root, ROOT_LOG2, 0, PAGE_LOG2 + 2 * NODE_LOG2, first, last);
    int error = is_done ? search_all(&search, pid, most_bytes, found) : ENOMEM;
    close(search.memory);
    free(search.blocks);
    free(search.queue);
    return error;
}

#else

int lost_blocks(int pid, uint64_t cells_root, uint32_t first, uint32_t last, uint64_t most_bytes,
                LostBlocks *found) {
    (void)pid, (void)cells_root, (void)first, (void)last, (void)most_bytes;
    *found = (LostBlocks){0};
    return -1;
}

#endif
