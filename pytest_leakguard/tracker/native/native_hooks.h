/* What loaded objects call instead of malloc, free, mmap, dlsym, … and operator new. */
#ifndef LEAKGUARD_NATIVE_HOOKS_H
#define LEAKGUARD_NATIVE_HOOKS_H

#include <stdbool.h>
#include <stddef.h>

/* The binding has the same numbers. */
typedef enum {
    NATIVE_NOT_INSTALLED,
    NATIVE_HOOKED,
    /* Somebody else's function is in the slots now (memray tracks): calls do not reach us. */
    NATIVE_DISPLACED,
    /* Not an ELF system, or an architecture whose relocations we do not know. */
    NATIVE_UNSUPPORTED,
    /* A sanitizer's allocator is in this process; it must not be worked around. */
    NATIVE_SANITIZER,
    /* No slot was found: a static program. */
    NATIVE_NO_SLOTS,
} NativeState;

/* Again after the first time: takes back slots that others have restored. */
NativeState native_hooks_install(void);
void native_hooks_uninstall(void);
NativeState native_hooks_state(void);
/* Hooks what was loaded meanwhile; restores what somebody has unhooked. Cheap when nothing was. */
void native_hooks_refresh(void);
/* Slots replaced since the beginning; and those that hold somebody else's function. */
size_t native_hooks_replaced(void);
size_t native_hooks_foreign(void);

#endif
