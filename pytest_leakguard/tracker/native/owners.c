#include "owners.h"

/* Containers have the address of their table in one of these; larger objects are types. */
#define MOST_FIELD_BYTES 128

static uintptr_t word_at(uintptr_t address) { return *(const uintptr_t *)address; }

typedef struct {
    const uintptr_t *blocks;
    uint64_t count;
    uintptr_t lowest, highest;
    uint64_t *owners;
} Search;

static void note_owner(const Search *search, uintptr_t word, uint64_t object) {
    if (word < search->lowest || word > search->highest) return;
    for (uint64_t at = 0; at < search->count; at++)
        if (search->blocks[at] == word && search->owners[at] == NO_OWNER)
            search->owners[at] = object;
}

static void look_into(const Search *search, uintptr_t object, uint64_t at,
                      const ObjectLayout *layout) {
    uintptr_t type = word_at(object + layout->type);
    uintptr_t end = word_at(type + layout->basic_size);
    if (end > MOST_FIELD_BYTES) end = MOST_FIELD_BYTES;
    for (uintptr_t field = layout->type + sizeof(uintptr_t); field + sizeof(uintptr_t) <= end;
         field += sizeof(uintptr_t))
        note_owner(search, word_at(object + field), at);
}

void owners_find(const uintptr_t *objects, uint64_t object_count, const uintptr_t *blocks,
                 uint64_t block_count, const ObjectLayout *layout, uint64_t *owners) {
    Search search = {blocks, block_count, UINTPTR_MAX, 0, owners};
    for (uint64_t at = 0; at < block_count; at++) {
        owners[at] = NO_OWNER;
        if (blocks[at] < search.lowest) search.lowest = blocks[at];
        if (blocks[at] > search.highest) search.highest = blocks[at];
    }
    for (uint64_t at = 0; at < object_count; at++) look_into(&search, objects[at], at, layout);
}
