/* Allocates in one way per step: "ready", then a line of input, then the work, again and again. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *volatile kept;

__attribute__((noinline)) static void keep(size_t size) {
    kept = malloc(size);
    memset(kept, 1, size);
}

__attribute__((noinline)) static void drop(size_t size) {
    void *volatile block = malloc(size);
    free(block);
}

static void *work(void *unused) {
    (void)unused;
    for (int i = 0; i < 5000; i++) {
        drop(64 + i % 512);
        if (i % 50 == 0) keep(40);
    }
    return NULL;
}

static void in_threads(void) {
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) pthread_create(&threads[i], NULL, work, NULL);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
}

/* Each child is forked while other threads allocate, and has to be able to do so itself. */
static void with_forks(void) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, work, NULL);
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) {
            work(NULL);
            _exit(0);
        }
        int status = 0;
        waitpid(child, &status, 0);
        if (status) abort();
    }
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
}

static char *grown;
static size_t grown_bytes;

static void step(const char *mode) {
    if (!strcmp(mode, "keep"))
        for (int i = 0; i < 10; i++) keep(100);
    if (!strcmp(mode, "churn"))
        for (int i = 0; i < 200000; i++) i % 1000 ? drop(24 + i % 4096) : keep(100);
    if (!strcmp(mode, "flood"))
        for (int i = 0; i < 300000; i++) keep(32);
    if (!strcmp(mode, "threads")) in_threads();
    if (!strcmp(mode, "forks")) with_forks();
    if (!strcmp(mode, "grow")) {
        grown = realloc(grown, grown_bytes += 1000);
        memset(grown, 1, grown_bytes);
    }
}

int main(int count, char **arguments) {
    char line[16];
    if (count < 2) return 2;
    for (;;) {
        puts("ready");
        fflush(stdout);
        if (!fgets(line, sizeof line, stdin)) return 0;
        step(arguments[1]);
    }
}
