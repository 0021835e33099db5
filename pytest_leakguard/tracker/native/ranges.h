/* Mappings: ranges of addresses that do not overlap, in order, with a 64-bit value each.
   A range may be removed from the middle of another, as munmap does. Needs the caller's lock. */
#ifndef LEAKGUARD_RANGES_H
#define LEAKGUARD_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uintptr_t start, end;
    uint64_t value;
} Range;

typedef struct {
    Range *items;
    size_t used, capacity;
} Ranges;

/* The bytes of each part that goes, and how many ranges there are more (-1, 0 or 1). */
typedef void (*RangeRemoved)(const Range *old, size_t removed_bytes, int ranges_more);

/* Takes out whatever lies in [start, end). A range is cut where it reaches beyond. */
void ranges_remove(Ranges *ranges, uintptr_t start, uintptr_t end, RangeRemoved removed);
/* What it overlaps must have been removed. False: no memory. */
bool ranges_insert(Ranges *ranges, Range range);
/* The range that contains the address, or NULL. */
Range *ranges_find(const Ranges *ranges, uintptr_t address);
void ranges_clear(Ranges *ranges);
/* Takes out one whole range. */
void ranges_erase(Ranges *ranges, size_t at);

#endif
