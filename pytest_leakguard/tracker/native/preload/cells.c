#include "cells.h"

#include "../pages.h"
#include "traces.h"

/* Memory is taken from the kernel in pieces of 256 KiB, of which only what is used is in memory. */
#define PIECE_BYTES ((size_t)1 << 18)
#define CELLS_BYTES (sizeof(Cell) << (PAGE_LOG2 - GRANULE_LOG2))
#define NODE_BYTES (sizeof(Node) << NODE_LOG2)

Node cells_root[1 << ROOT_LOG2];
static char *piece;
static size_t piece_left;

Cell *cells_look_up(uintptr_t address) {
    if (UNLIKELY(address >> ADDRESS_BITS)) return NULL;
    Node *upper = cells_next(&cells_root[address >> (PAGE_LOG2 + 2 * NODE_LOG2)]);
    if (UNLIKELY(!upper)) return NULL;
    size_t mask = (1 << NODE_LOG2) - 1;
    Node *lower = cells_next(&upper[(address >> (PAGE_LOG2 + NODE_LOG2)) & mask]);
    if (UNLIKELY(!lower)) return NULL;
    Cell *page = cells_next(&lower[(address >> PAGE_LOG2) & mask]);
    if (UNLIKELY(!page)) return NULL;
    uintptr_t place = address >> PAGE_LOG2;
    live_thread.known[place % KNOWN_PAGES] = (KnownPage){place, page};
    return cell_in(page, address);
}

/* With the lock held. */
static void *zeroed(size_t size_bytes) {
    if (piece_left < size_bytes) {
        char *fresh = pages_map(PIECE_BYTES);
        if (!fresh) return NULL;
        piece = fresh;
        piece_left = PIECE_BYTES;
    }
    void *start = piece;
    piece += size_bytes;
    piece_left -= size_bytes;
    live_note_own((int64_t)size_bytes);
    return start;
}

static void *child_of(Node *node, size_t size_bytes) {
    void *child = cells_next(node);
    if (!child && (child = zeroed(size_bytes)))
        atomic_store_explicit(node, child, memory_order_release);
    return child;
}

static bool make_path(uintptr_t address) {
    size_t mask = (1 << NODE_LOG2) - 1;
    Node *upper = child_of(&cells_root[address >> (PAGE_LOG2 + 2 * NODE_LOG2)], NODE_BYTES);
    if (!upper) return false;
    Node *lower = child_of(&upper[(address >> (PAGE_LOG2 + NODE_LOG2)) & mask], NODE_BYTES);
    return lower && child_of(&lower[(address >> PAGE_LOG2) & mask], CELLS_BYTES);
}

Cell *cells_make(uintptr_t address) {
    Cell *found = cells_at(address);
    if (found || address >> ADDRESS_BITS) return found;
    live_lock(&live_own->growing);
    bool is_made = make_path(address);
    live_unlock(&live_own->growing);
    return is_made ? cells_at(address) : NULL;
}

/* The size's two halves are in the cells of the addresses that follow. */
static Cell *half(uintptr_t address, unsigned number) {
    return cells_make(address + ((uintptr_t)(number + 1) << GRANULE_LOG2));
}

static bool keep_large_size(uintptr_t address, size_t size_bytes) {
    Cell *low = half(address, 0), *high = half(address, 1);
    if (!low || !high) return false;
    cell_store(low, (uint32_t)size_bytes);
    cell_store(high, (uint32_t)((uint64_t)size_bytes >> 32));
    return true;
}

/* The cells are emptied: they may soon be those of small blocks. */
size_t cells_large_size(uintptr_t address) {
    Cell *low = half(address, 0), *high = half(address, 1);
    if (!low || !high) return 0;
    uint64_t size_bytes = (uint64_t)cell_load(high) << 32 | cell_load(low);
    cell_store(low, 0);
    cell_store(high, 0);
    return (size_t)size_bytes;
}

/* The first block of a page of cells, a large one, or one whose address was freed where we did not
   see it. */
void cells_put_slowly(void *block, size_t size_bytes, uint32_t epoch) {
    uintptr_t address = (uintptr_t)block;
    Cell *cell = cells_make(address);
    if (!cell) {
        live_note_lost();
        return;
    }
    if (cell_load(cell)) cells_take(block);
    bool is_large = size_bytes >= LARGE - 1;
    if (is_large && !keep_large_size(address, size_bytes)) {
        live_note_lost();
        return;
    }
    uint32_t size_field = is_large ? LARGE : (uint32_t)(size_bytes + 1);
    cell_store(cell, epoch << SIZE_BITS | size_field);
    live_count_block(epoch, (int64_t)size_bytes, 1);
}

void block_allocated_slowly(void *block, size_t size_bytes, uint32_t raw_epoch) {
    uint32_t epoch = live_epoch_of(raw_epoch);
    cells_put(block, size_bytes, epoch);
    if (raw_epoch & TRACED) traces_block(block, size_bytes, epoch);
}
