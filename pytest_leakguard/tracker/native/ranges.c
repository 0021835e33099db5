#include "ranges.h"

#include <string.h>

#include "pages.h"

/* 24 KiB at first; doubled when full. */
#define SMALLEST_CAPACITY 1024

/* The first range that ends after the address. */
static size_t first_after(const Ranges *ranges, uintptr_t address) {
    size_t low = 0, high = ranges->used;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ranges->items[middle].end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool make_room(Ranges *ranges) {
    if (ranges->used < ranges->capacity) return true;
    size_t capacity = ranges->capacity ? ranges->capacity * 2 : SMALLEST_CAPACITY;
    Range *items = pages_map(capacity * sizeof(Range));
    if (!items) return false;
    if (ranges->items) {
        memcpy(items, ranges->items, ranges->used * sizeof(Range));
        pages_unmap(ranges->items, ranges->capacity * sizeof(Range));
    }
    ranges->items = items;
    ranges->capacity = capacity;
    return true;
}

static bool insert_at(Ranges *ranges, size_t at, Range range) {
    if (!make_room(ranges)) return false;
    Range *item = &ranges->items[at];
    memmove(item + 1, item, (ranges->used - at) * sizeof(Range));
    *item = range;
    ranges->used++;
    return true;
}

bool ranges_insert(Ranges *ranges, Range range) {
    return insert_at(ranges, first_after(ranges, range.start), range);
}

void ranges_erase(Ranges *ranges, size_t at) {
    Range *item = &ranges->items[at];
    ranges->used--;
    memmove(item, item + 1, (ranges->used - at) * sizeof(Range));
}

/* Cuts one range; returns the place of the next one to look at. */
static size_t cut(Ranges *ranges, size_t at, uintptr_t start, uintptr_t end, RangeRemoved removed) {
    Range old = ranges->items[at];
    uintptr_t from = old.start > start ? old.start : start;
    uintptr_t to = old.end < end ? old.end : end;
    bool has_head = old.start < from, has_tail = to < old.end;
    int ranges_more = (int)has_head + (int)has_tail - 1;
    Range tail = {to, old.end, old.value};
    if (has_head) {
        ranges->items[at].end = from;
        if (has_tail && !insert_at(ranges, at + 1, tail)) { /* no memory: the tail is given up */
            ranges_more = 0;
            to = old.end;
        }
    } else if (has_tail) {
        ranges->items[at].start = to;
    } else {
        ranges_erase(ranges, at);
    }
    removed(&old, to - from, ranges_more);
    return has_head ? at + 1 : at;
}

void ranges_remove(Ranges *ranges, uintptr_t start, uintptr_t end, RangeRemoved removed) {
    size_t at = first_after(ranges, start);
    while (at < ranges->used && ranges->items[at].start < end)
        at = cut(ranges, at, start, end, removed);
}

Range *ranges_find(const Ranges *ranges, uintptr_t address) {
    size_t at = first_after(ranges, address);
    bool is_inside = at < ranges->used && ranges->items[at].start <= address;
    return is_inside ? &ranges->items[at] : NULL;
}

void ranges_clear(Ranges *ranges) { ranges->used = 0; }
