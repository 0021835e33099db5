/* Which blocks of Python's may be the table of a container: of a list, dict, set or deque. */
#ifndef LEAKGUARD_CONTAINERS_H
#define LEAKGUARD_CONTAINERS_H

#include "core.h"

/* Addresses of those among the blocks that may be a table, and that no other of these blocks
   refers to; there must be room for all. Returns how many; `dicts` is how many are of a dict. The
   caller has the GIL, so that the blocks stay. */
size_t containers_tables(const Survivor *blocks, size_t count, uint64_t *tables, uint64_t *dicts);

#endif
