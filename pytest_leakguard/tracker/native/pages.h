/* Memory of our own from the kernel: never from an allocator that we watch. */
#ifndef LEAKGUARD_PAGES_H
#define LEAKGUARD_PAGES_H

#include <stddef.h>

/* Zeroed pages, or NULL. errno stays as it was. */
void *pages_map(size_t size_bytes);

/* Gives the memory back but keeps the address space: a late reader finds zeros, no fault. */
void pages_empty(void *start, size_t size_bytes);

void pages_unmap(void *start, size_t size_bytes);

#endif
