/* Random operations on the table, the ranges and the totals, against plain references. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core.h"

#define KEYS 60000
#define PAGES 400
#define CHECK(condition)                                                                           \
    if (!(condition)) {                                                                            \
        fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                    \
        exit(1);                                                                                   \
    }

static uint64_t state = 88172645463325252u;
static uint64_t draw(void) { /* xorshift64, G. Marsaglia 2003 */
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static void check_table(long rounds) {
    static uint64_t reference[KEYS];
    static Table table;
    size_t used = 0;
    for (long round = 0; round < rounds; round++) {
        /* Few distinct bits, so that probes collide. */
        uintptr_t key = 1 + draw() % KEYS, address = key << 3;
        uint64_t value = draw() | 1, previous = 0, *expected = &reference[key - 1];
        CHECK(!*expected || table_may_contain(&table, address));
        switch (draw() % 4) {
        case 0:
        case 1: {
            TablePut put = table_put(&table, address, value, &previous);
            CHECK(put == (*expected ? TABLE_REPLACED : TABLE_NEW));
            CHECK(put == TABLE_NEW || previous == *expected);
            used += put == TABLE_NEW;
            *expected = value;
            break;
        }
        case 2:
            CHECK(table_remove(&table, address, &previous) == (*expected != 0));
            CHECK(!*expected || previous == *expected);
            used -= *expected != 0;
            *expected = 0;
            CHECK(!table_may_contain(&table, address));
            break;
        default:
            CHECK(table_find(&table, address, &previous) == (*expected != 0));
            CHECK(!*expected || previous == *expected);
        }
        CHECK(table_used(&table) == used);
        if (round % 50000 == 49999) {
            table_clear(&table);
            memset(reference, 0, sizeof reference);
            used = 0;
        }
        if (round % 1000 == 999) table_shrink(&table);
    }
}

static uint8_t pages[PAGES];
static int64_t range_bytes, range_count;
static void removed(const Range *old, size_t bytes, int more) {
    CHECK(old->value >= 1);
    range_bytes -= (int64_t)bytes;
    range_count += more;
}

static void check_ranges(long rounds) {
    static Ranges ranges;
    for (long round = 0; round < rounds; round++) {
        uintptr_t start = draw() % PAGES, end = start + 1 + draw() % (PAGES - start);
        if (end - start > 20) end = start + 20;
        ranges_remove(&ranges, start, end, removed);
        memset(pages + start, 0, end - start);
        if (draw() % 3) {
            uint8_t value = (uint8_t)(1 + draw() % 200);
            CHECK(ranges_insert(&ranges, (Range){start, end, value}));
            memset(pages + start, value, end - start);
            range_bytes += (int64_t)(end - start);
            range_count++;
        }
        int64_t expected = 0;
        for (uintptr_t at = 0; at < PAGES; at++) {
            Range *range = ranges_find(&ranges, at);
            CHECK((range ? range->value : 0) == pages[at]);
            expected += pages[at] != 0;
        }
        CHECK(range_bytes == expected && range_count == (int64_t)ranges.used);
    }
}

/* Each thread owns its addresses, as the owners of blocks do; armed and disarmed meanwhile. */
#define BLOCKS_PER_THREAD 3000
static _Atomic int is_over;

static void work_on(uintptr_t base, uint64_t seed, int rounds) {
    for (int round = 0; round < rounds; round++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        char *block = (char *)(base + (seed >> 40) % BLOCKS_PER_THREAD * 16);
        switch (seed >> 33 & 3) {
        case 0:
        case 1: core_allocated(block, 16, DOMAIN_NATIVE); break;
        case 2: core_freed(block); break;
        default: {
            Resize resize;
            core_resize_begin(&resize, block);
            core_resize_end(&resize, block, seed >> 50, DOMAIN_NATIVE, 8, 16);
        }
        }
    }
}

static uintptr_t base_of(uintptr_t thread) { return (thread + 1) << 32; }

static void free_all(uintptr_t base) {
    for (uintptr_t at = 0; at < BLOCKS_PER_THREAD; at++) core_freed((char *)(base + at * 16));
}

static void *work(void *argument) {
    uintptr_t base = base_of((uintptr_t)argument);
    work_on(base, base, 60000);
    free_all(base);
    return NULL;
}

/* The thread that the lock leans towards works as well. */
static void *arm_and_disarm(void *argument) {
    uintptr_t base = base_of((uintptr_t)argument);
    static Survivor survivors[100];
    for (uint32_t run = 1; !is_over; run = run % 3000 + 1) {
        CHECK(core_arm(run));
        work_on(base, run, 50);
        core_survivors(run, survivors, 100);
        core_disarm();
        work_on(base, run, 10);
        if (run % 64 == 0) core_move_runs(1, run, 0);
    }
    free_all(base);
    return NULL;
}

static void check_threads(void) {
    pthread_t workers[4], control;
    is_over = 0;
    pthread_create(&control, NULL, arm_and_disarm, (void *)4);
    for (uintptr_t at = 0; at < 4; at++) pthread_create(&workers[at], NULL, work, (void *)at);
    for (int at = 0; at < 4; at++) pthread_join(workers[at], NULL);
    is_over = 1;
    pthread_join(control, NULL);
    CHECK(table_used(&core.blocks) == 0);
    for (uint32_t run = 0; run <= 3000; run++) {
        RunTotals *totals = runs_find(run);
        for (int domain = 0; totals && domain < DOMAINS; domain++)
            for (int thread = 0; thread < THREADS; thread++)
                CHECK(!totals->blocks[domain][thread] && !totals->bytes[domain][thread]);
    }
}

/* Children of a process whose threads are inside: none waits for a thread that it has not got. */
#define CHILDREN 30
#define CHILD_TIMEOUT_S 60

static void behave_as_child(void) {
    alarm(CHILD_TIMEOUT_S); /* a deadlock ends the child by a signal */
    char *block = (char *)base_of(9);
    core_freed(block);
    if (core_arm(1)) _exit(2); /* not before it is reset */
    core_allocated(block, 16, DOMAIN_NATIVE);
    if (table_used(&core.blocks)) _exit(3);
    core_reset();
    if (!core_arm(1)) _exit(4);
    core_allocated(block, 16, DOMAIN_NATIVE);
    core_disarm();
    if (table_used(&core.blocks) != 1) _exit(5);
    core_freed(block);
    _exit(table_used(&core.blocks) ? 6 : 0);
}

static void check_forks(void) {
    pthread_t workers[2], control;
    is_over = 0;
    core_install_fork_handler();
    pthread_create(&control, NULL, arm_and_disarm, (void *)4);
    for (uintptr_t at = 0; at < 2; at++) pthread_create(&workers[at], NULL, work, (void *)at);
    for (int forked = 0; forked < CHILDREN; forked++) {
        pid_t child = fork();
        if (child == 0) behave_as_child();
        int status = 0;
        CHECK(waitpid(child, &status, 0) == child);
        if (status) fprintf(stderr, "child %d ended with %d\n", forked, status);
        CHECK(status == 0);
    }
    for (int at = 0; at < 2; at++) pthread_join(workers[at], NULL);
    is_over = 1;
    pthread_join(control, NULL);
    CHECK(table_used(&core.blocks) == 0);
}

int main(int count, char **arguments) {
    long rounds = count > 1 ? atol(arguments[1]) : 300000;
    check_table(rounds);
    check_ranges(rounds / 20);
    for (int repeated = 0; repeated < 3; repeated++) check_threads();
    check_forks();
    puts("as the references");
    return 0;
}
