/* Python's own allocators, found in the running interpreter: no Python headers are needed. */
#ifndef LEAKGUARD_PYTHON_HOOKS_H
#define LEAKGUARD_PYTHON_HOOKS_H

#include <stdbool.h>

/* Wraps the domains MEM and OBJ for the rest of the process. The caller has the GIL. False: this
   process has no Python. A second call changes nothing. */
bool python_hooks_install(void);

#endif
