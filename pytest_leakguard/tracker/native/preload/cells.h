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

OFTEN Cell *cell_in(Cell *page, uintptr_t address) {
    return &page[(address >> GRANULE_LOG2) & ((1 << (PAGE_LOG2 - GRANULE_LOG2)) - 1)];
}

/* As `cells_at`, by all levels. */
__attribute__((noinline)) Cell *cells_look_up(uintptr_t address);

/* NULL where nothing was ever entered nearby. */
OFTEN Cell *cells_at(uintptr_t address) {
    uintptr_t place = address >> PAGE_LOG2;
    const KnownPage *known = &live_thread.known[place % KNOWN_PAGES];
    if (LIKELY(place == known->place)) return cell_in(known->cells, address);
    return cells_look_up(address);
}

/* As `cells_at`, but makes the page. NULL: no memory. */
Cell *cells_make(uintptr_t address);

OFTEN uint32_t cell_load(const Cell *cell) {
    return atomic_load_explicit((Cell *)cell, memory_order_relaxed);
}

OFTEN void cell_store(Cell *cell, uint32_t value) {
    atomic_store_explicit(cell, value, memory_order_relaxed);
}

/* A block that was tracked; size SIZE_MAX: it was not. */
typedef struct {
    size_t size_bytes;
    uint32_t epoch;
} Block;

#define NO_BLOCK SIZE_MAX

RARE size_t cells_large_size(uintptr_t address);
RARE void cells_put_slowly(void *block, size_t size_bytes, uint32_t epoch);

/* Takes the block out. */
OFTEN Block cells_take(void *block) {
    Cell *cell = cells_at((uintptr_t)block);
    uint32_t value = cell ? cell_load(cell) : 0;
    if (!value) return (Block){NO_BLOCK, 0};
    cell_store(cell, 0);
    size_t size_bytes = (value & SIZE_MASK) - 1;
    if (UNLIKELY((value & SIZE_MASK) == LARGE)) size_bytes = cells_large_size((uintptr_t)block);
    live_count_block(value >> SIZE_BITS, -(int64_t)size_bytes, -1);
    return (Block){size_bytes, value >> SIZE_BITS};
}

OFTEN void cells_put(void *block, size_t size_bytes, uint32_t epoch) {
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
OFTEN size_t cells_asked(size_t size_bytes) {
    size_t least = (size_t)1 << GRANULE_LOG2;
    return size_bytes < least ? least : size_bytes;
}

/* ---- what the hooks say */

/* While its stack is wanted, too. */
RARE void block_allocated_slowly(void *block, size_t size_bytes, uint32_t raw_epoch);

OFTEN void block_allocated(void *block, size_t size_bytes) {
    if (UNLIKELY(!block || live_thread.depth != 0 || !live_counts())) return;
    uint32_t epoch = live_raw_epoch();
    if (LIKELY(epoch < EPOCHS))
        cells_put(block, size_bytes, epoch);
    else
        block_allocated_slowly(block, size_bytes, epoch);
}

/* One of an interpreter's own, which knows better where it comes from. */
OFTEN void block_allocated_untraced(void *block, size_t size_bytes) {
    if (LIKELY(block && live_thread.depth == 0 && live_counts())) cells_put(block, size_bytes, live_epoch());
}

/* Before it is freed: afterwards another thread may get the same address. */
OFTEN void block_freed(void *block) {
    if (LIKELY(block && live_counts())) cells_take(block);
}

#endif
