/* Audit events of the interpreter, of which nearly all are nobody's business. A hook in Python is
   called for each of them, also for every id(). */
#ifndef LEAKGUARD_AUDIT_H
#define LEAKGUARD_AUDIT_H

#include <stdbool.h>

/* Calls `listener`, a callable of Python's that the caller keeps alive, with the name and the
   arguments of each event that was asked for. One listener in a process, and for good: a second
   call changes nothing. The caller has the GIL. False: the interpreter takes no hooks. */
bool audit_begin(void *listener);
/* Asks for an event, besides those before; the name must stay. False: there is no room. */
bool audit_ask_for(const char *event);

#endif
