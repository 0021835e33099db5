/* Addresses and a 64-bit value for each: open addressing, linear probing, deletion by moving the
   followers back, so that it never fills with markers of deleted entries.

   Changing and finding need the caller's lock. `table_may_contain` needs none. */
#ifndef LEAKGUARD_TABLE_H
#define LEAKGUARD_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    _Atomic uintptr_t address; /* 0: empty */
    _Atomic uint64_t value;
} TableEntry;

/* Entries at first: 128 KiB, which stays in the processor's second-level cache. */
#define TABLE_SMALLEST_LOG2 13
#define TABLE_LARGEST_LOG2 40

typedef struct {
    /* First entry (at a page) plus the binary logarithm of the capacity: both in one load. */
    _Atomic uintptr_t place;
    /* Odd while entries move. */
    _Atomic uint64_t version;
    _Atomic size_t used;
    /* The region for each capacity: kept when left, because a reader without lock may be in it. */
    TableEntry *region[TABLE_LARGEST_LOG2 + 1];
} Table;

#define TABLE_LOG2_MASK ((uintptr_t)63)

static inline TableEntry *table_entries(uintptr_t place) {
    return (TableEntry *)(place & ~TABLE_LOG2_MASK);
}

static inline size_t table_mask(uintptr_t place) {
    return ((size_t)1 << (place & TABLE_LOG2_MASK)) - 1;
}

/* Fibonacci hashing: the upper bits of the product. Blocks are at multiples of 8 at least. */
static inline size_t table_home(uintptr_t place, uintptr_t address) {
    uint64_t product = ((uint64_t)address >> 3) * UINT64_C(0x9E3779B97F4A7C15);
    return (size_t)(product >> (64 - (place & TABLE_LOG2_MASK)));
}

/* False only where the address is surely not in the table. Without lock: the address must not be
   entered or removed meanwhile, which holds for a block that its owner is about to free. */
static inline bool table_may_contain(Table *table, uintptr_t address) {
    uint64_t version = atomic_load_explicit(&table->version, memory_order_acquire);
    uintptr_t place = atomic_load_explicit(&table->place, memory_order_acquire);
    if (version & 1) return true;
    if (!place) return false;
    TableEntry *entries = table_entries(place);
    size_t mask = table_mask(place);
    for (size_t at = table_home(place, address);; at = (at + 1) & mask) {
        uintptr_t found = atomic_load_explicit(&entries[at].address, memory_order_acquire);
        if (found == address) return true;
        if (!found) break;
    }
    return atomic_load_explicit(&table->version, memory_order_relaxed) != version;
}

static inline size_t table_used(const Table *table) {
    return atomic_load_explicit(&((Table *)table)->used, memory_order_relaxed);
}

typedef enum { TABLE_NEW, TABLE_REPLACED, TABLE_NO_MEMORY } TablePut;

/* Where it replaces an entry, its value goes to `previous`. */
TablePut table_put(Table *table, uintptr_t address, uint64_t value, uint64_t *previous);
bool table_find(Table *table, uintptr_t address, uint64_t *value);
bool table_remove(Table *table, uintptr_t address, uint64_t *value);
void table_clear(Table *table);
/* Smaller where it has become nearly empty. */
void table_shrink(Table *table);
size_t table_capacity(const Table *table);
/* Address space that its regions have; in memory is at most what was touched since. */
size_t table_size_bytes(const Table *table);

/* The entry at a place, 0 <= at < capacity; address 0 where it is empty. Removing what is found
   there may put another entry in its place: look at the same place again. */
uintptr_t table_at(const Table *table, size_t at, uint64_t *value);
void table_set_value_at(Table *table, size_t at, uint64_t value);

#endif
