#include "containers.h"

#define WORD sizeof(uintptr_t)
/* struct _dictkeysobject of CPython 3.11 to 3.15, up to its indices, and where its fields are. */
#define DICT_HEAD_BYTES 32
enum { LOG2_SIZE = 8, LOG2_INDEX_BYTES = 9, KIND = 10 };
/* Of one entry, by the kind of keys: any, strings only. Keys shared by instances are no dict's. */
enum { ANY_KEYS, STRING_KEYS };
#define ANY_ENTRY_BYTES 24
#define STRING_ENTRY_BYTES 16
/* A dict of more entries than any machine has memory for: it is no dict's table. */
#define LARGEST_LOG2 40
/* list_resize makes room in steps of four items. */
#define LIST_STEP_BYTES (4 * WORD)
/* Of the first table of a set that is not in the set itself, with so many entries. */
#define SET_ENTRY_BYTES 16
#define SMALLEST_SET 32
/* deque makes room for 64 items at once, between two addresses. */
#define DEQUE_BLOCK_BYTES (66 * WORD)
/* Of one block that are looked at for addresses of others. */
#define MOST_WORDS 4096
/* References to one object; the lowest address of a program is four times that. */
#define MOST_REFERENCES 1000000
/* Of addresses in user space, at most: 47 on x86-64, 52 on arm64. */
#define ADDRESS_BITS 52
/* What may precede an object in its block: nothing, the collector's head, or that and the place of
   the instance's dict (CPython 3.11 and later). */
static const size_t prefixes_bytes[] = {0, 16, 32};

/* Keeps its pages for the next search. */
static Table candidates;

static uintptr_t word_at(uintptr_t address) { return *(const uintptr_t *)address; }

typedef struct {
    uintptr_t start; /* 0: it is no dict's table */
    size_t entry_bytes;
} Entries;

static Entries entries_of_dict(const Survivor *block) {
    Entries none = {0, 0};
    if (block->size_bytes < DICT_HEAD_BYTES) return none;
    const uint8_t *head = (const uint8_t *)(uintptr_t)block->address;
    uint8_t log2_size = head[LOG2_SIZE], log2_index_bytes = head[LOG2_INDEX_BYTES];
    if (head[KIND] != ANY_KEYS && head[KIND] != STRING_KEYS) return none;
    if (log2_size > LARGEST_LOG2 || log2_index_bytes > LARGEST_LOG2) return none;
    size_t entry_bytes = head[KIND] == ANY_KEYS ? ANY_ENTRY_BYTES : STRING_ENTRY_BYTES;
    uint64_t usable = (UINT64_C(1) << log2_size) * 2 / 3;
    uint64_t before = DICT_HEAD_BYTES + (UINT64_C(1) << log2_index_bytes);
    if (block->size_bytes != before + usable * entry_bytes) return none;
    return (Entries){(uintptr_t)(block->address + before), entry_bytes};
}

/* Whether anything is left in a dict's table: the last word of an entry is its value. */
static bool has_value(Entries entries, uintptr_t end) {
    for (uintptr_t entry = entries.start; entry + entries.entry_bytes <= end;
         entry += entries.entry_bytes)
        if (word_at(entry + entries.entry_bytes - WORD)) return true;
    return false;
}

/* Whether a count of references and an address stand where an object has them; a table has
   addresses in both places. */
static bool is_of_object(const Survivor *block) {
    for (size_t at = 0; at < sizeof prefixes_bytes / sizeof *prefixes_bytes; at++) {
        size_t prefix = prefixes_bytes[at];
        if (block->size_bytes < prefix + 2 * WORD) return false;
        uintptr_t count = word_at((uintptr_t)block->address + prefix);
        uintptr_t kind = word_at((uintptr_t)block->address + prefix + WORD);
        if (0 < count && count <= MOST_REFERENCES && MOST_REFERENCES < kind) return true;
    }
    return false;
}

/* The first item of a list, which is an object: an address of user space, not the places of
   attributes that stand before an instance's values. */
static bool has_first_item(const Survivor *block) {
    uintptr_t item = word_at((uintptr_t)block->address);
    return item > MOST_REFERENCES && item % WORD == 0 && item >> ADDRESS_BITS == 0;
}

static bool may_be_of_set(uint64_t size_bytes) {
    uint64_t entries = size_bytes / SET_ENTRY_BYTES;
    bool is_whole = size_bytes % SET_ENTRY_BYTES == 0;
    return is_whole && entries >= SMALLEST_SET && (entries & (entries - 1)) == 0;
}

static bool may_be_table(const Survivor *block, bool *is_dict) {
    if (block->domain != DOMAIN_PYTHON) return false;
    Entries entries = entries_of_dict(block);
    *is_dict = entries.start != 0;
    if (*is_dict) return has_value(entries, (uintptr_t)(block->address + block->size_bytes));
    if (is_of_object(block)) return false;
    bool has_steps =
        block->size_bytes >= LIST_STEP_BYTES && block->size_bytes % LIST_STEP_BYTES == 0;
    return (has_steps && has_first_item(block)) || block->size_bytes == DEQUE_BLOCK_BYTES ||
           may_be_of_set(block->size_bytes);
}

/* Takes out what the first words of the block refer to. */
static void take_out_references(const Survivor *block) {
    uint64_t count = block->size_bytes / WORD, is_dict;
    if (block->domain != DOMAIN_PYTHON) return;
    if (count > MOST_WORDS) count = MOST_WORDS;
    for (uint64_t at = 0; at < count && table_used(&candidates); at++) {
        uintptr_t word = word_at((uintptr_t)block->address + at * WORD);
        if (word) table_remove(&candidates, word, &is_dict);
    }
}

/* Those that are left. */
static size_t take(const Survivor *blocks, size_t count, uint64_t *tables, uint64_t *dicts) {
    size_t found = 0;
    uint64_t is_dict;
    *dicts = 0;
    for (size_t at = 0; at < count && table_used(&candidates); at++) {
        if (!table_remove(&candidates, (uintptr_t)blocks[at].address, &is_dict)) continue;
        tables[found++] = blocks[at].address;
        *dicts += is_dict;
    }
    return found;
}

size_t containers_tables(const Survivor *blocks, size_t count, uint64_t *tables, uint64_t *dicts) {
    bool is_dict;
    uint64_t previous;
    LockWay way = core_lock();
    for (size_t at = 0; at < count; at++)
        if (may_be_table(&blocks[at], &is_dict))
            table_put(&candidates, (uintptr_t)blocks[at].address, is_dict, &previous);
    for (size_t at = 0; at < count && table_used(&candidates); at++)
        take_out_references(&blocks[at]);
    size_t found = take(blocks, count, tables, dicts);
    table_clear(&candidates);
    core_unlock(way);
    return found;
}
