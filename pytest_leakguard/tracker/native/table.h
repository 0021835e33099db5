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

/* Entries at first: 1 MiB of address space, of which only what is used gets memory. With 8,192 a
   loop that only allocates took 1.25 times as long: collisions are branches that are guessed
   wrongly. */
#define TABLE_SMALLEST_LOG2 16
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

/* At most a quarter full, because collisions are slow; above 16 MiB at most half full. */
#define TABLE_LARGE_LOG2 20
static inline size_t table_most(uintptr_t place) {
    size_t divisor = (place & TABLE_LOG2_MASK) > TABLE_LARGE_LOG2 ? 2 : 4;
    return (table_mask(place) + 1) / divisor;
}

/* A larger region, or a first one. False: no memory and no room. */
bool table_grow(Table *table);

/* The place of an address, or of the empty entry where it belongs. */
static inline size_t table_probe(uintptr_t place, uintptr_t address) {
    TableEntry *entries = table_entries(place);
    size_t mask = table_mask(place), at = table_home(place, address);
    for (;; at = (at + 1) & mask) {
        uintptr_t found = atomic_load_explicit(&entries[at].address, memory_order_relaxed);
        if (!found || found == address) return at;
    }
}

/* The address is released, so that who sees it also sees that the version has become odd. */
static inline void table_write(TableEntry *entry, uintptr_t address, uint64_t value) {
    atomic_store_explicit(&entry->value, value, memory_order_relaxed);
    atomic_store_explicit(&entry->address, address, memory_order_release);
}

static inline void table_change_version(Table *table) {
    uint64_t version = atomic_load_explicit(&table->version, memory_order_relaxed);
    atomic_store_explicit(&table->version, version + 1, memory_order_release);
}

/* Where it replaces an entry, its value goes to `previous`. */
static inline TablePut table_put(Table *table, uintptr_t address, uint64_t value,
                                 uint64_t *previous) {
    size_t used = table_used(table);
    uintptr_t place = atomic_load_explicit(&table->place, memory_order_relaxed);
    if (!place || used >= table_most(place)) {
        if (!table_grow(table)) return TABLE_NO_MEMORY;
        place = atomic_load_explicit(&table->place, memory_order_relaxed);
    }
    TableEntry *entry = &table_entries(place)[table_probe(place, address)];
    if (atomic_load_explicit(&entry->address, memory_order_relaxed)) {
        *previous = atomic_load_explicit(&entry->value, memory_order_relaxed);
        atomic_store_explicit(&entry->value, value, memory_order_relaxed);
        return TABLE_REPLACED;
    }
    table_write(entry, address, value);
    atomic_store_explicit(&table->used, used + 1, memory_order_relaxed);
    return TABLE_NEW;
}

/* Fills the hole with a follower whose way from home leads over it, and so on. The last hole is
   emptied only then: at no time does a reader without lock find an empty entry on its way. */
static inline void table_close_hole(Table *table, uintptr_t place, size_t hole) {
    TableEntry *entries = table_entries(place);
    size_t mask = table_mask(place);
    bool has_moved = false;
    for (size_t next = (hole + 1) & mask;; next = (next + 1) & mask) {
        uintptr_t address = atomic_load_explicit(&entries[next].address, memory_order_relaxed);
        if (!address) break;
        size_t way = (next - table_home(place, address)) & mask;
        if (way < ((next - hole) & mask)) continue;
        if (!has_moved) table_change_version(table);
        has_moved = true;
        uint64_t value = atomic_load_explicit(&entries[next].value, memory_order_relaxed);
        table_write(&entries[hole], address, value);
        hole = next;
    }
    table_write(&entries[hole], 0, 0);
    if (has_moved) table_change_version(table);
}

static inline bool table_remove(Table *table, uintptr_t address, uint64_t *value) {
    uintptr_t place = atomic_load_explicit(&table->place, memory_order_relaxed);
    if (!place) return false;
    size_t at = table_probe(place, address);
    TableEntry *entry = &table_entries(place)[at];
    if (!atomic_load_explicit(&entry->address, memory_order_relaxed)) return false;
    *value = atomic_load_explicit(&entry->value, memory_order_relaxed);
    table_close_hole(table, place, at);
    atomic_store_explicit(&table->used, table_used(table) - 1, memory_order_relaxed);
    return true;
}

bool table_find(Table *table, uintptr_t address, uint64_t *value);
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
