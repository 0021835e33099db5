#include "table.h"

#include "pages.h"

/* Leaner than this: rebuild smaller. Far below the fullest, so that it does not swing. */
#define LEANEST_SHARE_DIVISOR 64

static uintptr_t place_of(const Table *table) {
    return atomic_load_explicit(&((Table *)table)->place, memory_order_relaxed);
}

static uintptr_t address_at(const TableEntry *entry) {
    return atomic_load_explicit(&((TableEntry *)entry)->address, memory_order_relaxed);
}

static uint64_t value_at(const TableEntry *entry) {
    return atomic_load_explicit(&((TableEntry *)entry)->value, memory_order_relaxed);
}

static void set_used(Table *table, size_t used) {
    atomic_store_explicit(&table->used, used, memory_order_relaxed);
}

static void copy_entries(uintptr_t from, uintptr_t to) {
    if (!from) return;
    for (size_t at = 0; at <= table_mask(from); at++) {
        TableEntry *entry = &table_entries(from)[at];
        uintptr_t address = address_at(entry);
        if (address) table_write(&table_entries(to)[table_probe(to, address)], address, value_at(entry));
    }
}

static bool rebuild(Table *table, unsigned capacity_log2) {
    if (capacity_log2 > TABLE_LARGEST_LOG2) return false;
    TableEntry **region = &table->region[capacity_log2];
    if (!*region) *region = pages_map(sizeof(TableEntry) << capacity_log2);
    if (!*region) return false;
    uintptr_t old = place_of(table), new = (uintptr_t)*region | capacity_log2;
    table_change_version(table);
    copy_entries(old, new);
    atomic_store_explicit(&table->place, new, memory_order_release);
    if (old) pages_empty(table_entries(old), sizeof(TableEntry) * (table_mask(old) + 1));
    table_change_version(table);
    return true;
}

bool table_grow(Table *table) {
    uintptr_t place = place_of(table);
    if (!place) return rebuild(table, TABLE_SMALLEST_LOG2);
    if (rebuild(table, (unsigned)(place & TABLE_LOG2_MASK) + 1)) return true;
    return table_used(table) + 2 <= table_mask(place); /* fuller and slower; one stays empty */
}

bool table_find(Table *table, uintptr_t address, uint64_t *value) {
    uintptr_t place = place_of(table);
    if (!place) return false;
    TableEntry *entry = &table_entries(place)[table_probe(place, address)];
    *value = value_at(entry);
    return address_at(entry) != 0;
}

/* Also of a table that a fork caught in the middle of a change. */
void table_clear(Table *table) {
    uint64_t version = atomic_load_explicit(&table->version, memory_order_relaxed) | 1;
    atomic_store_explicit(&table->version, version, memory_order_release);
    for (unsigned capacity_log2 = 0; capacity_log2 <= TABLE_LARGEST_LOG2; capacity_log2++) {
        TableEntry *region = table->region[capacity_log2];
        if (region) pages_empty(region, sizeof(TableEntry) << capacity_log2);
    }
    set_used(table, 0);
    atomic_store_explicit(&table->version, version + 1, memory_order_release);
    table_shrink(table);
}

void table_shrink(Table *table) {
    uintptr_t place = place_of(table);
    if (!place || (place & TABLE_LOG2_MASK) <= TABLE_SMALLEST_LOG2) return;
    if (table_used(table) * LEANEST_SHARE_DIVISOR > table_mask(place)) return;
    unsigned capacity_log2 = TABLE_SMALLEST_LOG2;
    while (table_used(table) * 2 > table_most(capacity_log2)) capacity_log2++;
    rebuild(table, capacity_log2);
}

size_t table_capacity(const Table *table) {
    uintptr_t place = place_of(table);
    return place ? table_mask(place) + 1 : 0;
}

size_t table_size_bytes(const Table *table) {
    size_t size_bytes = 0;
    for (unsigned capacity_log2 = 0; capacity_log2 <= TABLE_LARGEST_LOG2; capacity_log2++)
        if (table->region[capacity_log2]) size_bytes += sizeof(TableEntry) << capacity_log2;
    return size_bytes;
}

uintptr_t table_at(const Table *table, size_t at, uint64_t *value) {
    TableEntry *entry = &table_entries(place_of(table))[at];
    *value = value_at(entry);
    return address_at(entry);
}

void table_set_value_at(Table *table, size_t at, uint64_t value) {
    TableEntry *entry = &table_entries(place_of(table))[at];
    atomic_store_explicit(&entry->value, value, memory_order_relaxed);
}
