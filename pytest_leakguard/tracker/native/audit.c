#define _GNU_SOURCE
#include "audit.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

/* Those of temporary files and of who looks at all objects are ten. */
#define MOST_EVENTS 32

typedef int (*AuditHook)(const char *event, void *arguments, void *context);

/* Of the interpreter's public interface. */
static struct {
    int (*add)(AuditHook hook, void *context);
    void *(*interpreter)(void);
    void *(*thread)(void);
    void (*enter_tracing)(void *thread);
    void (*leave_tracing)(void *thread);
    void *(*call)(void *callable, const char *format, ...);
    void (*decref)(void *object);
} python;

static void *listener, *own_interpreter;
static const char *events[MOST_EVENTS];
static _Atomic size_t event_count;

static bool is_asked_for(const char *event) {
    size_t count = atomic_load_explicit(&event_count, memory_order_acquire);
    for (size_t at = 0; at < count; at++)
        if (events[at][0] == event[0] && strcmp(events[at], event) == 0) return true;
    return false;
}

/* As for hooks in Python: whoever traces or profiles is not told of what the hook does. */
static int on_event(const char *event, void *arguments, void *context) {
    (void)context;
    if (!is_asked_for(event) || python.interpreter() != own_interpreter) return 0;
    void *thread = python.thread();
    python.enter_tracing(thread);
    void *result = python.call(listener, "sO", event, arguments);
    python.leave_tracing(thread);
    if (!result) return -1;
    python.decref(result);
    return 0;
}

static void *found(const char *name) { return dlsym(RTLD_DEFAULT, name); }

static bool find_all(void) {
    python.add = (int (*)(AuditHook, void *))found("PySys_AddAuditHook");
    python.interpreter = (void *(*)(void))found("PyInterpreterState_Get");
    python.thread = (void *(*)(void))found("PyThreadState_Get");
    python.enter_tracing = (void (*)(void *))found("PyThreadState_EnterTracing");
    python.leave_tracing = (void (*)(void *))found("PyThreadState_LeaveTracing");
    python.call = (void *(*)(void *, const char *, ...))found("PyObject_CallFunction");
    python.decref = (void (*)(void *))found("Py_DecRef");
    return python.add && python.interpreter && python.thread && python.enter_tracing &&
           python.leave_tracing && python.call && python.decref;
}

bool audit_begin(void *callable) {
    if (listener) return true;
    if (!find_all()) return false;
    own_interpreter = python.interpreter();
    listener = callable;
    return python.add(on_event, NULL) == 0;
}

bool audit_ask_for(const char *event) {
    size_t count = atomic_load_explicit(&event_count, memory_order_relaxed);
    for (size_t at = 0; at < count; at++)
        if (strcmp(events[at], event) == 0) return true;
    if (count == MOST_EVENTS) return false;
    events[count] = event;
    atomic_store_explicit(&event_count, count + 1, memory_order_release);
    return true;
}
