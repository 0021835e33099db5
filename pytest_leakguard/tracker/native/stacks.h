/* Where native blocks were allocated: return addresses by block, while it is switched on. */
#ifndef LEAKGUARD_STACKS_H
#define LEAKGUARD_STACKS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEEPEST_STACK 64

typedef struct {
    uint64_t depth;
    uintptr_t frames[DEEPEST_STACK];
} Stack;

/* Loads the unwinder. Without lock: it allocates. False: there is none (libgcc_s). */
bool stacks_prepare(void);
/* Keeps so many frames of each stack from now on; 0 switches it off and forgets all of them.
   Needs the caller's lock. */
void stacks_record(unsigned depth);

/* Frames that are kept of each stack; 0: none. */
extern _Atomic unsigned stacks_depth;

static inline bool stacks_are_recorded(void) {
    return atomic_load_explicit(&stacks_depth, memory_order_relaxed) != 0;
}

/* Takes the stack of the caller, without our own frames. Without lock: it may load and allocate. */
void stacks_capture(Stack *stack);
/* The three below need the caller's lock. */
void stacks_keep(uintptr_t address, const Stack *stack);
void stacks_drop(uintptr_t address); /* nothing to do where none are recorded */
/* Frames written, innermost first. */
size_t stacks_find(uintptr_t address, uintptr_t *frames, size_t most);

#endif
