/* Parses rows of a file. Only the old file format, chosen with --legacy, loses memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 6, FIELD_BYTES = 24 };

static __attribute__((noinline)) char *unquote_field(const char *field)
{
    char *plain = malloc(FIELD_BYTES);
    if (plain == NULL)
        abort();
    size_t length = 0;
    for (; *field != '\0' && length < FIELD_BYTES - 1; field++)
        if (*field != '"')
            plain[length++] = *field;
    plain[length] = '\0';
    return plain;
}

static __attribute__((noinline)) size_t parse_row(const char *row, int is_legacy)
{
    if (!is_legacy)
        return strlen(row);
    char *plain = unquote_field(row);
    return strlen(plain);
    /* BUG: the unquoted copy is never freed */
}

/* Overwrites what finished calls left on the stack, so that no stale pointer hides a leak. */
static __attribute__((noinline, no_sanitize_address)) void scrub_stack(void)
{
    volatile char old_frames[16 * 1024];
    for (size_t i = 0; i < sizeof old_frames; i++)
        old_frames[i] = 0;
}

int main(int argc, char **argv)
{
    int is_legacy = argc > 1 && strcmp(argv[1], "--legacy") == 0;
    size_t characters = 0;
    for (int i = 0; i < ROWS; i++)
        characters += parse_row("\"4711\",\"bolt\"", is_legacy);
    scrub_stack();
    printf("%zu characters\n", characters);
    return 0;
}
