#include "runs.h"

#include <stddef.h>
#include <string.h>

#include "pages.h"

/* Totals come in chunks of 1,024 runs (144 KiB), so that an early run costs little. */
#define CHUNK_BITS 10
#define RUNS_PER_CHUNK (1u << CHUNK_BITS)
#define CHUNKS (1u << (RUN_BITS - CHUNK_BITS))

static RunTotals *chunks[CHUNKS];

bool runs_prepare(uint32_t run) {
    if (run > LARGEST_RUN) return false;
    RunTotals **chunk = &chunks[run >> CHUNK_BITS];
    if (!*chunk) *chunk = pages_map(RUNS_PER_CHUNK * sizeof(RunTotals));
    return *chunk != NULL;
}

RunTotals *runs_find(uint32_t run) {
    if (run > LARGEST_RUN) return NULL;
    RunTotals *chunk = chunks[run >> CHUNK_BITS];
    return chunk ? &chunk[run & (RUNS_PER_CHUNK - 1)] : NULL;
}

void runs_clear(void) {
    for (unsigned at = 0; at < CHUNKS; at++) {
        if (!chunks[at]) continue;
        if (at == 0) {
            memset(chunks[at], 0, RUNS_PER_CHUNK * sizeof(RunTotals));
            continue;
        }
        pages_unmap(chunks[at], RUNS_PER_CHUNK * sizeof(RunTotals));
        chunks[at] = NULL;
    }
}

uint64_t runs_size_bytes(void) {
    uint64_t size_bytes = 0;
    for (unsigned at = 0; at < CHUNKS; at++)
        if (chunks[at]) size_bytes += RUNS_PER_CHUNK * sizeof(RunTotals);
    return size_bytes;
}
