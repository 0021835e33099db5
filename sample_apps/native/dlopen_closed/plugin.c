/* An audio filter that is loaded at run time. It builds its table on first use; the host must
 * call filter_shutdown before it unloads the filter. */
#include <stdlib.h>

enum { LEVELS = 256 };

static int *gain_table;

static __attribute__((noinline)) int *build_gain_table(void)
{
    int *table = malloc(LEVELS * sizeof *table);
    if (table == NULL)
        abort();
    for (int level = 0; level < LEVELS; level++)
        table[level] = level * 3 / 2;
    return table;
}

int filter_apply(int sample)
{
    if (gain_table == NULL)
        gain_table = build_gain_table();
    return gain_table[sample % LEVELS];
}

void filter_shutdown(void)
{
    free(gain_table);
    gain_table = NULL;
}
