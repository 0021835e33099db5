#define _GNU_SOURCE
#include "python_methods.h"

#include <dlfcn.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>

#include "api.h"

/* PyMethodDef, and METH_O and METH_NOARGS: part of Python's stable ABI. */
typedef struct {
    const char *name;
    void *(*call)(void *self, void *argument);
    int flags;
    const char *doc;
} Method;
enum { WITHOUT_ARGUMENTS = 0x0004, ONE_ARGUMENT = 0x0008 };

static void *(*new_function)(Method *, void *, void *); /* PyCFunction_NewEx */
static void *(*to_object)(long);                        /* none is made of 0 and 1 */
static unsigned long (*to_number)(void *);
static void *(*error)(void); /* a borrowed reference; NULL where there is none */

static void *arm(void *self, void *argument) {
    (void)self;
    unsigned long run = to_number(argument);
    if (run == ULONG_MAX && error()) return NULL;
    return to_object(run <= UINT32_MAX && tracker_arm((uint32_t)run));
}

static void *disarm(void *self, void *argument) {
    (void)self, (void)argument;
    tracker_disarm();
    return to_object(0);
}

static void *sees_python(void *self, void *argument) {
    (void)self, (void)argument;
    return to_object(tracker_sees_python());
}

static Method methods[] = {
    {"arm", arm, ONE_ARGUMENT, NULL},
    {"disarm", disarm, WITHOUT_ARGUMENTS, NULL},
    {"sees_python", sees_python, WITHOUT_ARGUMENTS, NULL},
};

static bool find_functions(void) {
    new_function = (void *(*)(Method *, void *, void *))dlsym(RTLD_DEFAULT, "PyCFunction_NewEx");
    to_object = (void *(*)(long))dlsym(RTLD_DEFAULT, "PyLong_FromLong");
    to_number = (unsigned long (*)(void *))dlsym(RTLD_DEFAULT, "PyLong_AsUnsignedLongMask");
    error = (void *(*)(void))dlsym(RTLD_DEFAULT, "PyErr_Occurred");
    return new_function && to_object && to_number && error;
}

void *python_methods_make(const char *name) {
    if (!find_functions()) return NULL;
    for (size_t at = 0; at < sizeof methods / sizeof *methods; at++)
        if (!strcmp(methods[at].name, name)) return new_function(&methods[at], NULL, NULL);
    return NULL;
}
