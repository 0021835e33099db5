/* Sized strings: callers hold a pointer to the text, which lies behind a header.
 * Every session is closed, which frees the block by its header. */
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

static void text_free(char *text)
{
    if (text != NULL)
        free((struct text_header *)text - 1);
}

static __attribute__((noinline)) void open_sessions(void)
{
    for (int i = 0; i < SESSIONS; i++) {
        char name[32];
        snprintf(name, sizeof name, "session-%d", i);
        session_names[i] = text_new(name);
    }
}

static void close_sessions(void)
{
    for (int i = 0; i < SESSIONS; i++) {
        text_free(session_names[i]);
        session_names[i] = NULL;
    }
}

int main(void)
{
    open_sessions();
    for (int i = 0; i < SESSIONS; i++)
        puts(session_names[i]);
    close_sessions();
    return 0;
}
