/* What is alive of each run, kept up to date. Needs the caller's lock. */
#ifndef LEAKGUARD_RUNS_H
#define LEAKGUARD_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Who allocated a block. The binding has the same numbers. */
typedef enum { DOMAIN_PYTHON, DOMAIN_NATIVE, DOMAIN_MAPPING, DOMAINS } Domain;
/* The thread that armed the tracker, or any other. */
typedef enum { THREAD_OWN, THREAD_OTHER, THREADS } ThreadKind;

/* Runs have 22 bits in an entry. Run 0 is everything older than the first run. */
#define RUN_BITS 22
#define LARGEST_RUN ((UINT32_C(1) << RUN_BITS) - 1)

typedef struct {
    int64_t blocks[DOMAINS][THREADS];
    int64_t bytes[DOMAINS][THREADS];
    /* Bytes by which blocks of other runs grew (or shrank) during this run. */
    int64_t grown[DOMAINS][THREADS];
} RunTotals;

/* Must succeed before anything is counted for a run. False: no memory. */
bool runs_prepare(uint32_t run);

/* Totals come in chunks of 1,024 runs (144 KiB), so that an early run costs little. */
#define RUN_CHUNK_BITS 10
#define RUNS_PER_CHUNK (1u << RUN_CHUNK_BITS)
#define RUN_CHUNKS (1u << (RUN_BITS - RUN_CHUNK_BITS))
extern RunTotals *runs_chunks[RUN_CHUNKS];

/* NULL for a run that was never prepared. `run` is at most LARGEST_RUN. */
static inline RunTotals *runs_find(uint32_t run) {
    RunTotals *chunk = runs_chunks[run >> RUN_CHUNK_BITS];
    return chunk ? &chunk[run & (RUNS_PER_CHUNK - 1)] : NULL;
}

/* Live blocks and mappings of the runs first..last. */
uint64_t runs_alive(uint32_t first, uint32_t last);
/* Zeros for the runs first..last. */
void runs_forget(uint32_t first, uint32_t last);
void runs_clear(void);
uint64_t runs_size_bytes(void);

#endif
