/* What is called around and inside the unit's own code, as builtin functions of Python's.

   A call through ctypes makes a tuple of its arguments, and from CPython 3.14 on an audit event
   with objects of its own. All of them would wait in the interpreter's free lists when the unit
   begins, so that its first objects of those types would not be allocated, and never counted. */
#ifndef LEAKGUARD_PYTHON_METHODS_H
#define LEAKGUARD_PYTHON_METHODS_H

/* A new reference to tracker_arm, tracker_disarm or tracker_sees_python as a builtin, by its name
   without the prefix; NULL: no such name, or no Python in this process. Call it with the GIL. */
void *python_methods_make(const char *name);

#endif
