/* Mappings that the program makes itself. What an allocator maps on the way is part of its call. */
#ifndef LEAKGUARD_MAPPINGS_H
#define LEAKGUARD_MAPPINGS_H

#include <stdbool.h>

/* Whether a mapping begins there, or is around it, that the program has made. */
bool mappings_has(void *start);

/* In a forked child: another thread may have been about to change the list. */
void mappings_forget_lock(void);

#endif
