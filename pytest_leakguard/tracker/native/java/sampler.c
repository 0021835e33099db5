/* Which calls of a Java service allocate what stays. Loaded into the running JVM by
   `jcmd PID JVMTI.agent_load`, once a leak is confirmed, with a command as its option: "begin",
   "note:FILE" or "end". Each object that is allocated meanwhile gets a tag that leads to its calls;
   the JVM forgets the tags of those that are collected. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jvmti.h"

#define PUBLIC __attribute__((visibility("default")))
#define DEEPEST 48
#define STACKS (1u << 13)
#define MOST_STACKS (STACKS / 4 * 3)
/* Objects whose calls are taken before only one in so many bytes is, and again. */
#define TAKEN_AT_ONCE (1u << 20)
#define FIRST_INTERVAL 4096
#define INTERVAL_STEP 8
/* A tag: the stack's number, and how many bytes the object stands for at least. */
#define INTERVAL_SHIFT 32

typedef struct {
    uint64_t hash; /* 0: free */
    int32_t depth;
    Call calls[DEEPEST];
    char *kind; /* the class of the first object */
    int64_t bytes, objects;
} Stack;

static Jvmti jvmti;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Stack *stacks;
static uint32_t stacks_used, taken;
static int32_t interval;

static uint64_t hash_of(const Call *calls, int32_t depth) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a, by words */
    for (int32_t at = 0; at < depth; at++) {
        hash = (hash ^ (uint64_t)(uintptr_t)calls[at].method) * UINT64_C(0x100000001b3);
        hash = (hash ^ (uint64_t)calls[at].location) * UINT64_C(0x100000001b3);
    }
    return hash ? hash : 1;
}

static char *copy_of_signature(Handle kind) {
    char *signature = NULL, *copy = NULL;
    if (GET_CLASS_SIGNATURE(jvmti)(jvmti, kind, &signature, NULL) == 0 && signature) {
        copy = strdup(signature);
        DEALLOCATE(jvmti)(jvmti, signature);
    }
    return copy;
}

/* Its number from 1 on; 0: no room. With the lock held. */
static uint32_t number_of(const Call *calls, int32_t depth, Handle kind) {
    uint64_t hash = hash_of(calls, depth);
    uint32_t at = (uint32_t)(hash >> 20) % STACKS;
    for (; stacks[at].hash; at = (at + 1) % STACKS)
        if (stacks[at].hash == hash) return at + 1;
    if (stacks_used >= MOST_STACKS) return 0;
    stacks_used++;
    stacks[at].depth = depth;
    memcpy(stacks[at].calls, calls, (size_t)depth * sizeof *calls);
    stacks[at].kind = copy_of_signature(kind);
    stacks[at].hash = hash;
    return at + 1;
}

static void sample_fewer(void) {
    interval = interval ? interval * INTERVAL_STEP : FIRST_INTERVAL;
    SET_HEAP_SAMPLING_INTERVAL(jvmti)(jvmti, interval);
}

static void sampled(Jvmti env, Jni jni, Handle thread, Handle object, Handle kind, int64_t size) {
    Call calls[DEEPEST];
    int32_t depth = 0;
    (void)jni, (void)size;
    if (GET_STACK_TRACE(env)(env, thread, 0, DEEPEST, calls, &depth) != 0 || depth == 0) return;
    pthread_mutex_lock(&lock);
    int64_t stands_for = interval;
    uint32_t number = number_of(calls, depth, kind);
    if (++taken % TAKEN_AT_ONCE == 0) sample_fewer();
    pthread_mutex_unlock(&lock);
    if (number) SET_TAG(env)(env, object, stands_for << INTERVAL_SHIFT | number);
}

static int32_t count(int64_t class_tag, int64_t size, int64_t *tag, int32_t length, void *data) {
    (void)class_tag, (void)length, (void)data;
    Stack *stack = &stacks[(uint32_t)*tag - 1];
    int64_t stands_for = *tag >> INTERVAL_SHIFT;
    if (stands_for < size) stands_for = size;
    stack->bytes += stands_for;
    stack->objects += size > 0 ? stands_for / size : 1;
    return VISIT_OBJECTS;
}

static int32_t line_of(const Call *call) {
    Line *lines = NULL;
    int32_t size = 0, found = 0;
    if (GET_LINE_NUMBER_TABLE(jvmti)(jvmti, call->method, &size, &lines) != 0) return 0;
    int64_t nearest = -1;
    for (int32_t at = 0; at < size; at++) {
        if (lines[at].start > call->location || lines[at].start <= nearest) continue;
        nearest = lines[at].start;
        found = lines[at].line;
    }
    DEALLOCATE(jvmti)(jvmti, lines);
    return found;
}

static void write_call(FILE *file, Jni jni, const Call *call) {
    char *name = NULL, *kind = NULL, *source = NULL;
    Handle owner = NULL;
    GET_METHOD_NAME(jvmti)(jvmti, call->method, &name, NULL, NULL);
    if (GET_METHOD_DECLARING_CLASS(jvmti)(jvmti, call->method, &owner) == 0) {
        GET_CLASS_SIGNATURE(jvmti)(jvmti, owner, &kind, NULL);
        GET_SOURCE_FILE_NAME(jvmti)(jvmti, owner, &source);
        DELETE_LOCAL_REFERENCE(jni)(jni, owner);
    }
    fprintf(file, "\t%s\t%s\t%s\t%d\n", kind ? kind : "", name ? name : "", source ? source : "", line_of(call));
    if (name) DEALLOCATE(jvmti)(jvmti, name);
    if (kind) DEALLOCATE(jvmti)(jvmti, kind);
    if (source) DEALLOCATE(jvmti)(jvmti, source);
}

/* Nothing may be allocated meanwhile that the callback would lock for: so not with the lock held. */
static bool note(Jni jni, const char *path) {
    HeapCallbacks callbacks = {count, {NULL}};
    int descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "w");
    if (!file) return false;
    for (uint32_t at = 0; at < STACKS; at++) stacks[at].bytes = stacks[at].objects = 0;
    FORCE_GARBAGE_COLLECTION(jvmti)(jvmti);
    ITERATE_THROUGH_HEAP(jvmti)(jvmti, FILTER_UNTAGGED, NULL, &callbacks, NULL);
    for (uint32_t at = 0; at < STACKS; at++) {
        const Stack *stack = &stacks[at];
        if (!stack->bytes) continue;
        fprintf(file, "%lld\t%lld\t%s\n", (long long)stack->bytes, (long long)stack->objects,
                stack->kind ? stack->kind : "");
        for (int32_t call = 0; call < stack->depth; call++) write_call(file, jni, &stack->calls[call]);
    }
    return fclose(file) == 0;
}

static void set_bit(Capabilities *capabilities, unsigned bit) {
    capabilities->bits[bit / 32] |= UINT32_C(1) << bit % 32;
}

static bool prepare(Jvm jvm) {
    void *callbacks[EVENTS] = {NULL};
    Capabilities wanted = {{0}};
    void *found = NULL;
    if (GET_ENVIRONMENT(jvm)(jvm, &found, JVMTI_VERSION_11) != 0) return false;
    set_bit(&wanted, CAN_TAG_OBJECTS);
    set_bit(&wanted, CAN_GET_SOURCE_FILE_NAME);
    set_bit(&wanted, CAN_GET_LINE_NUMBERS);
    set_bit(&wanted, CAN_GENERATE_SAMPLED_OBJECT_ALLOC_EVENTS);
    callbacks[EVENT_SAMPLED_OBJECT_ALLOC - FIRST_EVENT] = (void *)sampled;
    stacks = calloc(STACKS, sizeof *stacks);
    Jvmti made = found;
    if (!stacks || ADD_CAPABILITIES(made)(made, &wanted) != 0) return false;
    if (SET_EVENT_CALLBACKS(made)(made, callbacks, sizeof callbacks) != 0) return false;
    jvmti = made;
    return true;
}

/* A second tracing goes on with the stacks of the first one, to which tags still lead. */
static bool begin(Jvm jvm) {
    if (!jvmti && !prepare(jvm)) return false;
    interval = 0;
    taken = 0;
    return SET_HEAP_SAMPLING_INTERVAL(jvmti)(jvmti, 0) == 0 &&
           SET_EVENT_NOTIFICATION_MODE(jvmti)(jvmti, ENABLE, EVENT_SAMPLED_OBJECT_ALLOC, NULL) == 0;
}

/* All else stays: a thread may be in the callback still. */
static void end(void) {
    SET_EVENT_NOTIFICATION_MODE(jvmti)(jvmti, DISABLE, EVENT_SAMPLED_OBJECT_ALLOC, NULL);
}

#define JNI_VERSION_10 0x000a0000

PUBLIC int32_t Agent_OnAttach(Jvm jvm, char *command, void *reserved);

/* 0: done. */
PUBLIC int32_t Agent_OnAttach(Jvm jvm, char *command, void *reserved) {
    void *jni = NULL;
    (void)reserved;
    if (!strcmp(command, "begin")) return begin(jvm) ? 0 : 1;
    if (!jvmti || GET_ENVIRONMENT(jvm)(jvm, &jni, JNI_VERSION_10) != 0) return 1;
    if (!strncmp(command, "note:", 5)) return note(jni, command + 5) ? 0 : 1;
    if (!strcmp(command, "end")) end();
    return 0;
}
