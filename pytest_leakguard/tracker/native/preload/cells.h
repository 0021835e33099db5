/* For each address at which a block may begin, what is known of the block: a cell of four bytes.

   An array over the whole address space, of which only what is used gets memory: three levels of
   tables, then a page of cells for every 16 KiB of blocks. A cell belongs to who owns the block, so
   that entering and removing take no lock and no search: that is what makes tracking cheap enough
   for a service. The price is a quarter of a byte of memory for each byte in small blocks. */
#ifndef LEAKGUARD_CELLS_H
#define LEAKGUARD_CELLS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layout.h"
#include "live.h"

/* Epoch, and size + 1 in 20 bits. 0: no block. */
typedef _Atomic uint32_t Cell;

typedef _Atomic(void *) Node;
extern Node cells_root[1 << ROOT_LOG2];

static inline void *cells_next(const Node *node) {
    return atomic_load_explicit((Node *)node, memory_order_acquire);
}

/* The page that the thread has used last: blocks lie side by side. */
extern FAST_THREAD_LOCAL uintptr_t cells_last;
extern FAST_THREAD_LOCAL Cell *cells_last_page;

static inline Cell *cell_in(Cell *page, uintptr_t address) {
    return &page[(address >> GRANULE_LOG2) & ((1 << (PAGE_LOG2 - GRANULE_LOG2)) - 1)];
}

/* NULL where nothing was ever entered nearby. */
static inline Cell *cells_at(uintptr_t address) {
    if (LIKELY(address >> PAGE_LOG2 == cells_last)) return cell_in(cells_last_page, address);
    if (UNLIKELY(address >> ADDRESS_BITS)) return NULL;
    Node *upper = cells_next(&cells_root[address >> (PAGE_LOG2 + 2 * NODE_LOG2)]);
    if (UNLIKELY(!upper)) return NULL;
    size_t mask = (1 << NODE_LOG2) - 1;
    Node *lower = cells_next(&upper[(address >> (PAGE_LOG2 + NODE_LOG2)) & mask]);
    if (UNLIKELY(!lower)) return NULL;
    Cell *page = cells_next(&lower[(address >> PAGE_LOG2) & mask]);
    if (UNLIKELY(!page)) return NULL;
    cells_last = address >> PAGE_LOG2;
    cells_last_page = page;
    return cell_in(page, address);
}

/* As `cells_at`, but makes the page. NULL: no memory. */
Cell *cells_make(uintptr_t address);

static inline uint32_t cell_load(const Cell *cell) {
    return atomic_load_explicit((Cell *)cell, memory_order_relaxed);
}

static inline void cell_store(Cell *cell, uint32_t value) {
    atomic_store_explicit(cell, value, memory_order_relaxed);
}

/* A block that was tracked; size SIZE_MAX: it was not. */
typedef struct {
    size_t size_bytes;
    uint32_t epoch;
} Block;

#define NO_BLOCK SIZE_MAX

size_t cells_large_size(uintptr_t address);
void cells_put_slowly(void *block, size_t size_bytes, uint32_t epoch);

/* Takes the block out. */
static inline Block cells_take(void *block) {
    Cell *cell = cells_at((uintptr_t)block);
    uint32_t value = cell ? cell_load(cell) : 0;
    if (!value) return (Block){NO_BLOCK, 0};
    cell_store(cell, 0);
    size_t size_bytes = (value & SIZE_MASK) - 1;
    if (UNLIKELY((value & SIZE_MASK) == LARGE)) size_bytes = cells_large_size((uintptr_t)block);
    live_count_block(value >> SIZE_BITS, -(int64_t)size_bytes, -1);
    return (Block){size_bytes, value >> SIZE_BITS};
}

static inline void cells_put(void *block, size_t size_bytes, uint32_t epoch) {
    Cell *cell = cells_at((uintptr_t)block);
    if (UNLIKELY(!cell || size_bytes >= LARGE - 1 || cell_load(cell))) {
        cells_put_slowly(block, size_bytes, epoch);
        return;
    }
    cell_store(cell, epoch << SIZE_BITS | (uint32_t)(size_bytes + 1));
    live_count_block(epoch, (int64_t)size_bytes, 1);
}

static inline bool cells_has(const void *block) {
    Cell *cell = cells_at((uintptr_t)block);
    return cell && cell_load(cell);
}

/* What the allocator is asked for. */
static inline size_t cells_asked(size_t size_bytes) {
    size_t least = (size_t)1 << GRANULE_LOG2;
    return size_bytes < least ? least : size_bytes;
}

/* ---- what the hooks say */

static inline void block_allocated(void *block, size_t size_bytes) {
    if (LIKELY(block && live_depth == 0 && live_counts())) cells_put(block, size_bytes, live_epoch());
}

/* Before it is freed: afterwards another thread may get the same address. */
static inline void block_freed(void *block) {
    if (LIKELY(block && live_counts())) cells_take(block);
}

#endif
