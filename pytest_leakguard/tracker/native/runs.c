#include "runs.h"

#include <string.h>

#include "pages.h"

RunTotals *runs_chunks[RUN_CHUNKS];

bool runs_prepare(uint32_t run) {
    if (run > LARGEST_RUN) return false;
    RunTotals **chunk = &runs_chunks[run >> RUN_CHUNK_BITS];
    if (!*chunk) *chunk = pages_map(RUNS_PER_CHUNK * sizeof(RunTotals));
    return *chunk != NULL;
}

/* The next prepared run from `run` on; LARGEST_RUN + 1 when there is none. */
static uint32_t next_prepared(uint32_t run) {
    while (run <= LARGEST_RUN && !runs_chunks[run >> RUN_CHUNK_BITS])
        run = ((run >> RUN_CHUNK_BITS) + 1) << RUN_CHUNK_BITS;
    return run;
}

static uint64_t alive_in(const RunTotals *totals) {
    int64_t alive = 0;
    for (int domain = 0; domain < DOMAINS; domain++)
        for (int thread = 0; thread < THREADS; thread++) alive += totals->blocks[domain][thread];
    return (uint64_t)alive;
}

uint64_t runs_alive(uint32_t first, uint32_t last) {
    uint64_t alive = 0;
    for (uint32_t run = next_prepared(first); run <= last && run <= LARGEST_RUN;
         run = next_prepared(run + 1))
        alive += alive_in(runs_find(run));
    return alive;
}

void runs_forget(uint32_t first, uint32_t last) {
    for (uint32_t run = next_prepared(first); run <= last && run <= LARGEST_RUN;
         run = next_prepared(run + 1))
        *runs_find(run) = (RunTotals){0};
}

void runs_clear(void) {
    for (unsigned at = 0; at < RUN_CHUNKS; at++) {
        if (!runs_chunks[at]) continue;
        if (at == 0) {
            memset(runs_chunks[at], 0, RUNS_PER_CHUNK * sizeof(RunTotals));
            continue;
        }
        pages_unmap(runs_chunks[at], RUNS_PER_CHUNK * sizeof(RunTotals));
        runs_chunks[at] = NULL;
    }
}

uint64_t runs_size_bytes(void) {
    uint64_t size_bytes = 0;
    for (unsigned at = 0; at < RUN_CHUNKS; at++)
        if (runs_chunks[at]) size_bytes += RUNS_PER_CHUNK * sizeof(RunTotals);
    return size_bytes;
}
