/* Walks a directory tree of the given depth. Each level loses the path it has built. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 128 };

static __attribute__((noinline)) size_t scan_directory(const char *parent, int depth)
{
    char *path = malloc(PATH_BYTES);
    if (path == NULL)
        abort();
    snprintf(path, PATH_BYTES, "%s/level%d", parent, depth);

    size_t longest = 0;
    if (depth > 1)
        longest = scan_directory(path, depth - 1);
    if (strlen(path) > longest)
        longest = strlen(path);
    /* BUG: the path of this level is never freed */
    return longest;
}

static __attribute__((noinline)) size_t index_tree(int depth)
{
    return scan_directory("/srv", depth);
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
    int depth = argc > 1 ? atoi(argv[1]) : 6;
    size_t longest = index_tree(depth);
    scrub_stack();
    printf("scanned %d levels, longest path %zu\n", depth, longest);
    return 0;
}
