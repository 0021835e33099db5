/* Sized strings: callers hold a pointer to the text, which lies behind a header.
 * At exit only these inner pointers are left, so valgrind cannot be sure of a leak. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SESSIONS = 3, CAPACITY = 56 };

struct text_header {
    uint32_t length;
    uint32_t capacity;
};

static char *session_names[SESSIONS];

/* Returns the address of the text; the block itself begins 8 bytes before it. */
static __attribute__((noinline)) char *text_new(const char *initial)
{
    struct text_header *header = malloc(sizeof *header + CAPACITY);
    if (header == NULL)
        abort();
    header->length = (uint32_t)strlen(initial);
    header->capacity = CAPACITY;
    char *text = (char *)(header + 1);
    memcpy(text, initial, header->length + 1);
    return text;
}

static __attribute__((noinline)) void open_sessions(void)
{
    for (int i = 0; i < SESSIONS; i++) {
        char name[32];
        snprintf(name, sizeof name, "session-%d", i);
        session_names[i] = text_new(name);
    }
}

/* Overwrites what finished calls left on the stack, so that no stale pointer hides a leak. */
static __attribute__((noinline, no_sanitize_address)) void scrub_stack(void)
{
    volatile char old_frames[16 * 1024];
    for (size_t i = 0; i < sizeof old_frames; i++)
        old_frames[i] = 0;
}

int main(void)
{
    open_sessions();
    scrub_stack();
    for (int i = 0; i < SESSIONS; i++)
        puts(session_names[i]);
    /* BUG: the sessions are never closed */
    return 0;
}
