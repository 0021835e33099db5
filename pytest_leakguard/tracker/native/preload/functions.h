/* The functions behind ours: whatever allocator the program has. */
#ifndef LEAKGUARD_FUNCTIONS_H
#define LEAKGUARD_FUNCTIONS_H

#include <stdbool.h>

#include "live.h"

/* The next definition of a function after this library; NULL: there is none. */
RARE void *next_function(const char *name);

/* Whether it is code of the library that has malloc. */
bool is_allocator(const void *caller);

/* Finds it at the first use, which may be before any constructor. Finding it twice does no harm. */
#define REAL(name)                                                                                 \
    ({                                                                                             \
        static _Atomic(void *) found;                                                              \
        void *function = atomic_load_explicit(&found, memory_order_relaxed);                       \
        if (UNLIKELY(!function)) {                                                                 \
            function = next_function(#name);                                                       \
            atomic_store_explicit(&found, function, memory_order_relaxed);                         \
        }                                                                                          \
        (__typeof__(&name))function;                                                               \
    })

#endif
