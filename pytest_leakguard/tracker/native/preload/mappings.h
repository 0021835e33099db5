/* Mappings that the program makes itself. What an allocator maps on the way is part of its call. */
#ifndef LEAKGUARD_MAPPINGS_H
#define LEAKGUARD_MAPPINGS_H

/* In a forked child: another thread may have been about to change the list. */
void mappings_forget_lock(void);

#endif
