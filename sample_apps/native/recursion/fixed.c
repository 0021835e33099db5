/* Walks a directory tree of the given depth. Each level frees the path it has built. */
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
    free(path);
    return longest;
}

static __attribute__((noinline)) size_t index_tree(int depth)
{
    return scan_directory("/srv", depth);
}

int main(int argc, char **argv)
{
    int depth = argc > 1 ? atoi(argv[1]) : 6;
    size_t longest = index_tree(depth);
    printf("scanned %d levels, longest path %zu\n", depth, longest);
    return 0;
}
