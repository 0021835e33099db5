/* A pool of threads converts records. Each record's copy is lost; the threads themselves are
 * joined, so nothing else is left behind. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORKERS = 3, RECORDS = 5, RECORD_BYTES = 40 };

struct batch {
    int worker;
    size_t converted;
};

static __attribute__((noinline)) char *copy_record(int worker, int number)
{
    char *record = malloc(RECORD_BYTES);
    if (record == NULL)
        abort();
    snprintf(record, RECORD_BYTES, "worker %d record %d", worker, number);
    return record;
}

static __attribute__((noinline)) void convert_batch(struct batch *batch)
{
    for (int i = 0; i < RECORDS; i++) {
        char *record = copy_record(batch->worker, i);
        batch->converted += strlen(record);
        /* BUG: the record is never freed */
    }
}

static void *worker_main(void *argument)
{
    convert_batch(argument);
    return NULL;
}

int main(void)
{
    pthread_t workers[WORKERS];
    struct batch batches[WORKERS];
    size_t converted = 0;
    for (int i = 0; i < WORKERS; i++) {
        batches[i] = (struct batch){.worker = i, .converted = 0};
        if (pthread_create(&workers[i], NULL, worker_main, &batches[i]) != 0)
            abort();
    }
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(workers[i], NULL);
        converted += batches[i].converted;
    }
    printf("%d workers converted %zu characters\n", WORKERS, converted);
    return 0;
}
