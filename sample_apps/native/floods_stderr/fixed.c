/* Debug output that was left switched on: writes 100 MiB to stderr, but frees the header of
 * each dump. A runner that does not drain stderr hangs here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DUMPS = 4, HEADER_BYTES = 256, BLOCK_BYTES = 64 * 1024, BLOCKS_PER_DUMP = 400 };

static char block[BLOCK_BYTES];

static __attribute__((noinline)) char *dump_header(int dump)
{
    char *header = malloc(HEADER_BYTES);
    if (header == NULL)
        abort();
    snprintf(header, HEADER_BYTES, "--- dump %d ---\n", dump);
    return header;
}

static int write_all(const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t written = write(STDERR_FILENO, bytes, size);
        if (written < 0)
            return -1;
        bytes += written;
        size -= (size_t)written;
    }
    return 0;
}

static __attribute__((noinline)) int dump_state(int dump)
{
    char *header = dump_header(dump);
    int failed = write_all(header, strlen(header));
    for (int i = 0; i < BLOCKS_PER_DUMP && !failed; i++)
        failed = write_all(block, sizeof block);
    free(header);
    return failed;
}

int main(void)
{
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = i % 80 == 79 ? '\n' : (char)('a' + i % 26);
    int failed = 0;
    for (int dump = 0; dump < DUMPS && !failed; dump++)
        failed = dump_state(dump);
    return failed ? 1 : 0;
}
