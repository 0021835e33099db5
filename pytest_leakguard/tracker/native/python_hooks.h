/* Python's own allocators, found in the running interpreter: no Python headers are needed. */
#ifndef LEAKGUARD_PYTHON_HOOKS_H
#define LEAKGUARD_PYTHON_HOOKS_H

#include <stdbool.h>

/* Wraps the domains MEM and OBJ for the rest of the process. The caller has the GIL. False: this
   process has no Python. A second call changes nothing. */
bool python_hooks_install(void);

/* Whether both domains come to us; call it while armed, with the GIL. Whoever wrapped the
   allocators before us and unwinds later has put back those from before. */
bool python_hooks_see(void);
/* Wraps the domains again that do not. What was freed meanwhile is not known: reset the tracker. */
void python_hooks_repair(void);

#endif
