/* As much of the JVM Tool Interface as the sampler uses, so that it is built without a JDK: tables of
   functions whose places the specification fixes ("JVM Tool Interface 11", function index). */
#ifndef LEAKGUARD_JVMTI_H
#define LEAKGUARD_JVMTI_H

#include <stdint.h>

typedef void *Handle; /* of an object, class or thread */
typedef struct Method *MethodId;
typedef int32_t Error;

/* Both begin with a pointer to the table. */
typedef void **const *Jvmti;
typedef void **const *Jvm;
typedef void **const *Jni;

#define JVMTI_VERSION_11 0x300B0000

/* Functions of the JVMTI are numbered from 1. */
#define JVMTI_FUNCTION(env, number, ...) ((Error (*)(Jvmti, __VA_ARGS__))(*(env))[(number) - 1])
#define SET_EVENT_NOTIFICATION_MODE(env) JVMTI_FUNCTION(env, 2, int, int, Handle)
#define DEALLOCATE(env) JVMTI_FUNCTION(env, 47, void *)
#define GET_CLASS_SIGNATURE(env) JVMTI_FUNCTION(env, 48, Handle, char **, char **)
#define GET_SOURCE_FILE_NAME(env) JVMTI_FUNCTION(env, 50, Handle, char **)
#define GET_METHOD_NAME(env) JVMTI_FUNCTION(env, 64, MethodId, char **, char **, char **)
#define GET_METHOD_DECLARING_CLASS(env) JVMTI_FUNCTION(env, 65, MethodId, Handle *)
#define GET_LINE_NUMBER_TABLE(env) JVMTI_FUNCTION(env, 70, MethodId, int32_t *, Line **)
#define GET_STACK_TRACE(env) JVMTI_FUNCTION(env, 104, Handle, int32_t, int32_t, Call *, int32_t *)
#define SET_TAG(env) JVMTI_FUNCTION(env, 107, Handle, int64_t)
#define FORCE_GARBAGE_COLLECTION(env) ((Error (*)(Jvmti))(*(env))[108 - 1])
#define ITERATE_THROUGH_HEAP(env) JVMTI_FUNCTION(env, 116, int32_t, Handle, const HeapCallbacks *, const void *)
#define SET_EVENT_CALLBACKS(env) JVMTI_FUNCTION(env, 122, const void *, int32_t)
#define ADD_CAPABILITIES(env) JVMTI_FUNCTION(env, 142, const Capabilities *)
#define SET_HEAP_SAMPLING_INTERVAL(env) JVMTI_FUNCTION(env, 156, int32_t)

/* Functions of the JNI and of its invocation are numbered from 0. */
#define GET_ENVIRONMENT(jvm) ((int32_t (*)(Jvm, void **, int32_t))(*(jvm))[6])
#define DELETE_LOCAL_REFERENCE(jni) ((void (*)(Jni, Handle))(*(jni))[23])

typedef struct {
    MethodId method;
    int64_t location;
} Call;

typedef struct {
    int64_t start;
    int32_t line;
} Line;

/* By their place among the bits. */
typedef struct {
    uint32_t bits[4];
} Capabilities;
#define CAN_TAG_OBJECTS 0
#define CAN_GET_SOURCE_FILE_NAME 11
#define CAN_GET_LINE_NUMBERS 12
#define CAN_GENERATE_SAMPLED_OBJECT_ALLOC_EVENTS 43

#define EVENT_SAMPLED_OBJECT_ALLOC 86
#define FIRST_EVENT 50
/* Of the callbacks, which are in the order of the events. */
#define EVENTS (EVENT_SAMPLED_OBJECT_ALLOC - FIRST_EVENT + 1)
#define ENABLE 1
#define DISABLE 0

#define FILTER_UNTAGGED 0x8
#define VISIT_OBJECTS 0x100
typedef struct {
    int32_t (*heap_iteration)(int64_t class_tag, int64_t size, int64_t *tag, int32_t length, void *data);
    void *others[15];
} HeapCallbacks;

#endif
