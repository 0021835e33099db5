#include "table.h"

#include "pages.h"

/* At most half full: a miss then looks at one or two entries. */
#define FULLEST_SHARE_DIVISOR 2
/* Leaner than a sixteenth: rebuild smaller. Far below half, so that it does not swing. */
#define LEANEST_SHARE_DIVISOR 16

static uintptr_t place_of(const Table *table) {
    return atomic_load_explicit(&((Table *)table)->place, memory_order_relaxed);
}

static uintptr_t address_at(const TableEntry *entry) {
    return atomic_load_explicit(&((TableEntry *)entry)->address, memory_order_relaxed);
}

static uint64_t value_at(const TableEntry *entry) {
    return atomic_load_explicit(&((TableEntry *)entry)->value, memory_order_relaxed);
}

/* Released, so that who sees it also sees that the version has become odd. */
static void write_entry(TableEntry *entry, uintptr_t address, uint64_t value) {
    atomic_store_explicit(&entry->value, value, memory_order_relaxed);
    atomic_store_explicit(&entry->address, address, memory_order_release);
}

static void change_version(Table *table) {
    uint64_t version = atomic_load_explicit(&table->version, memory_order_relaxed);
    atomic_store_explicit(&table->version, version + 1, memory_order_release);
}

static void set_used(Table *table, size_t used) {
    atomic_store_explicit(&table->used, used, memory_order_relaxed);
}

/* The place of an address, or of the empty entry where it belongs. */
static size_t probe(uintptr_t place, uintptr_t address) {
    TableEntry *entries = table_entries(place);
    size_t mask = table_mask(place), at = table_home(place, address);
    for (;; at = (at + 1) & mask) {
        uintptr_t found = address_at(&entries[at]);
        if (!found || found == address) return at;
    }
}

static void copy_entries(uintptr_t from, uintptr_t to) {
    if (!from) return;
    for (size_t at = 0; at <= table_mask(from); at++) {
        TableEntry *entry = &table_entries(from)[at];
        uintptr_t address = address_at(entry);
        if (address) write_entry(&table_entries(to)[probe(to, address)], address, value_at(entry));
    }
}

static bool rebuild(Table *table, unsigned capacity_log2) {
    if (capacity_log2 > TABLE_LARGEST_LOG2) return false;
    TableEntry **region = &table->region[capacity_log2];
    if (!*region) *region = pages_map(sizeof(TableEntry) << capacity_log2);
    if (!*region) return false;
    uintptr_t old = place_of(table), new = (uintptr_t)*region | capacity_log2;
    change_version(table);
    copy_entries(old, new);
    atomic_store_explicit(&table->place, new, memory_order_release);
    if (old) pages_empty(table_entries(old), sizeof(TableEntry) * (table_mask(old) + 1));
    change_version(table);
    return true;
}

static bool make_room(Table *table) {
    uintptr_t place = place_of(table);
    if (!place) return rebuild(table, TABLE_SMALLEST_LOG2);
    size_t capacity = table_mask(place) + 1;
    if ((table_used(table) + 1) * FULLEST_SHARE_DIVISOR <= capacity) return true;
    if (rebuild(table, (unsigned)(place & TABLE_LOG2_MASK) + 1)) return true;
    return table_used(table) + 2 <= capacity; /* no memory: fuller and slower, one stays empty */
}

TablePut table_put(Table *table, uintptr_t address, uint64_t value, uint64_t *previous) {
    if (!make_room(table)) return TABLE_NO_MEMORY;
    uintptr_t place = place_of(table);
    TableEntry *entry = &table_entries(place)[probe(place, address)];
    if (address_at(entry)) {
        *previous = value_at(entry);
        atomic_store_explicit(&entry->value, value, memory_order_relaxed);
        return TABLE_REPLACED;
    }
    write_entry(entry, address, value);
    set_used(table, table_used(table) + 1);
    return TABLE_NEW;
}

bool table_find(Table *table, uintptr_t address, uint64_t *value) {
    uintptr_t place = place_of(table);
    if (!place) return false;
    TableEntry *entry = &table_entries(place)[probe(place, address)];
    *value = value_at(entry);
    return address_at(entry) != 0;
}

/* Fills the hole with a follower whose way from home leads over it, and so on. The last hole is
   emptied only then: at no time does a reader without lock find an empty entry on its way. */
static void close_hole(Table *table, uintptr_t place, size_t hole) {
    TableEntry *entries = table_entries(place);
    size_t mask = table_mask(place);
    bool has_moved = false;
    for (size_t next = (hole + 1) & mask;; next = (next + 1) & mask) {
        uintptr_t address = address_at(&entries[next]);
        if (!address) break;
        size_t way = (next - table_home(place, address)) & mask;
        if (way < ((next - hole) & mask)) continue;
        if (!has_moved) change_version(table);
        has_moved = true;
        write_entry(&entries[hole], address, value_at(&entries[next]));
        hole = next;
    }
    write_entry(&entries[hole], 0, 0);
    if (has_moved) change_version(table);
}

bool table_remove(Table *table, uintptr_t address, uint64_t *value) {
    uintptr_t place = place_of(table);
    if (!place) return false;
    size_t at = probe(place, address);
    TableEntry *entry = &table_entries(place)[at];
    if (!address_at(entry)) return false;
    *value = value_at(entry);
    close_hole(table, place, at);
    set_used(table, table_used(table) - 1);
    return true;
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
    while (table_used(table) * FULLEST_SHARE_DIVISOR * 2 > (size_t)1 << capacity_log2)
        capacity_log2++;
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
