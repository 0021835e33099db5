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

#include "found_blocks.h"
#include "preload/layout.h"

#define PIECE_BYTES ((size_t)1 << 20)

/* Epochs that a link of a chain may skip, since a batch need not keep anything. */
#define NEAR_EPOCHS 2

/* How an epoch's blocks are led to from outside of it. */
enum { FROM_NEXT = 1, FROM_ELSEWHERE = 2 };

typedef struct {
    int memory; /* /proc/PID/mem */
    Blocks asked, others; /* of the epochs that were asked for; of all others */
    size_t *queue; /* reached, and not yet looked into */
    size_t queued;
    uint8_t ways[1 << EPOCH_BITS];
} Search;

/* ---- who leads to them; blocks are in the order of their addresses */

static bool is_in_block(const Blocks *blocks, uint64_t address) {
    size_t at = found_first_after(blocks, address);
    return at < blocks->used && blocks->blocks[at].start <= address;
}

/* Whether some block lies in the same page of cells: the page is the allocator's. */
static bool is_beside_block(const Blocks *blocks, uint64_t address) {
    uint64_t page = address >> PAGE_LOG2 << PAGE_LOG2;
    size_t at = found_first_after(blocks, page);
    return at < blocks->used && blocks->blocks[at].start < page + (UINT64_C(1) << PAGE_LOG2);
}

/* What leads to a block of a chain, apart from other blocks of its own epoch. Free memory does not:
   there, old pointers remain to addresses that are used again. An allocator's own lists point to the
   ends of blocks rather than to where they begin. */
static void note_way(Search *search, const Found *block, const Found *from, uint64_t at,
                     uint64_t word) {
    uint8_t *ways = &search->ways[block->epoch];
    if (from && from->epoch == block->epoch) return;
    if (from) { /* unsigned: what is older is far */
        *ways |= from->epoch - block->epoch <= NEAR_EPOCHS ? FROM_NEXT : FROM_ELSEWHERE;
        return;
    }
    if (*ways & FROM_ELSEWHERE) return;
    bool is_used = is_in_block(&search->others, at);
    bool is_free = !is_used && (is_beside_block(&search->others, at) ||
                                is_beside_block(&search->asked, at));
    if (is_used || (!is_free && word == block->start)) *ways |= FROM_ELSEWHERE;
}

/* The word at an address; `from` is the block in which that is, NULL outside of those asked for. */
static void reach(Search *search, uint64_t word, const Found *from, uint64_t address) {
    const Blocks *asked = &search->asked;
    if (word < asked->blocks[0].start || word >= asked->blocks[asked->used - 1].end) return;
    size_t at = found_first_after(asked, word);
    Found *block = &asked->blocks[at];
    if (block->start > word) return;
    note_way(search, block, from, address, word);
    if (block->is_reached) return;
    block->is_reached = true;
    search->queue[search->queued++] = at;
}

/* Words outside the blocks. */
static void look_into(Search *search, uint64_t begin, const uint64_t *words, size_t count) {
    const Blocks *asked = &search->asked;
    size_t next = found_first_after(asked, begin);
    for (size_t at = 0; at < count; at++) {
        uint64_t address = begin + at * sizeof *words;
        while (next < asked->used && asked->blocks[next].end <= address) next++;
        if (next < asked->used && asked->blocks[next].start <= address) continue;
        reach(search, words[at], NULL, address);
    }
}

static void look_into_blocks(Search *search, uint64_t *piece) {
    while (search->queued) {
        const Found *block = &search->asked.blocks[search->queue[--search->queued]];
        uint64_t at = (block->start + 7) & ~UINT64_C(7);
        while (at + 8 <= block->end) {
            uint64_t left = (block->end - at) & ~UINT64_C(7);
            size_t size_bytes = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
            if (!found_read(search->memory, at, piece, size_bytes)) break;
            for (size_t word = 0; word < size_bytes / 8; word++)
                reach(search, piece[word], block, at + word * 8);
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

/* The next mapping that is searched; false: there is none. */
static bool next_mapping(FILE *maps, uint64_t *begin, uint64_t *end) {
    char line[4352], permissions[8];
    while (fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx %7s", &from, &to, permissions) != 3) continue;
        if (!is_searched(line, permissions)) continue;
        *begin = from;
        *end = to;
        return true;
    }
    return false;
}

static void look_into_mapping(Search *search, uint64_t begin, uint64_t end, uint64_t *piece) {
    while (begin < end) {
        size_t size_bytes = end - begin < PIECE_BYTES ? (size_t)(end - begin) : PIECE_BYTES;
        if (found_read(search->memory, begin, piece, size_bytes))
            look_into(search, begin, piece, size_bytes / sizeof *piece);
        begin += size_bytes;
    }
}

/* Added up first: a thousand stacks of threads are too much, and would take a second to find out. */
static int look_into_memory(Search *search, int pid, uint64_t most_bytes, uint64_t *piece) {
    char path[64];
    uint64_t begin, end, total = 0;
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE *maps = fopen(path, "re");
    if (!maps) return errno;
    while (next_mapping(maps, &begin, &end)) total += end - begin;
    rewind(maps);
    while (total <= most_bytes && next_mapping(maps, &begin, &end))
        look_into_mapping(search, begin, end, piece);
    fclose(maps);
    return total <= most_bytes ? 0 : EFBIG;
}

static void count(const Search *search, uint32_t last, LostBlocks *found) {
    for (size_t at = 0; at < search->asked.used; at++) {
        const Found *block = &search->asked.blocks[at];
        found->blocks++;
        found->bytes += block->end - block->start;
        if (block->epoch + NEAR_EPOCHS <= last) {
            found->linked_bytes += block->end - block->start;
            if (block->is_reached && search->ways[block->epoch] == FROM_NEXT)
                found->chained_bytes += block->end - block->start;
        }
        if (block->is_reached) continue;
        found->lost_blocks++;
        found->lost_bytes += block->end - block->start;
    }
}

static int search_all(Search *search, int pid, uint32_t last, uint64_t most_bytes,
                      LostBlocks *found) {
    uint64_t *piece = malloc(PIECE_BYTES);
    search->queue = malloc((search->asked.used + 1) * sizeof *search->queue);
    int error = piece && search->queue ? 0 : ENOMEM;
    if (!error && search->asked.used) {
        error = look_into_memory(search, pid, most_bytes, piece);
        look_into_blocks(search, piece);
    }
    if (!error) count(search, last, found);
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
    bool is_done = found_blocks(search.memory, cells_root, first, last, &search.asked, &search.others);
    int error = is_done ? search_all(&search, pid, last, most_bytes, found) : ENOMEM;
    close(search.memory);
    free(search.asked.blocks);
    free(search.others.blocks);
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
