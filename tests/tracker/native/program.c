/* A program without Python that loads the tracker: program TRACKER LIBRARY. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "api.h"

/* musl's strdup does not call malloc by name. */
#ifdef __GLIBC__
#define SEES_STRDUP 1
#else
#define SEES_STRDUP 0
#endif

#define CHECK(condition)                                                                           \
    if (!(condition)) {                                                                            \
        fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                    \
        exit(1);                                                                                   \
    }

static void *find(void *library, const char *name) {
    void *function = dlsym(library, name);
    if (!function) fprintf(stderr, "%s is missing\n", name);
    CHECK(function);
    return function;
}

int main(int count, char **arguments) {
    CHECK(count == 3);
    void *tracker = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    if (!tracker) fprintf(stderr, "%s\n", dlerror());
    CHECK(tracker);
    int (*install)(void) = find(tracker, "tracker_install_native");
    int (*arm)(uint32_t) = find(tracker, "tracker_arm");
    void (*disarm)(void) = find(tracker, "tracker_disarm");
    void (*totals_of)(uint32_t, uint32_t, RunTotals *) = find(tracker, "tracker_totals");
    uint64_t (*used)(void) = find(tracker, "tracker_used");
    RunTotals totals;

    CHECK(install() == NATIVE_HOOKED);
    void *library = dlopen(arguments[2], RTLD_NOW);
    void *(*keep)(size_t) = find(library, "keep_malloc");
    char *(*duplicate)(const char *) = find(library, "keep_strdup");
    void *(*keep_through_pointer)(size_t) = find(library, "keep_through_pointer");
    int (*provoke)(void) = find(library, "provoke");
    void *(*looked_up)(size_t) = find(RTLD_DEFAULT, "malloc");

    CHECK(arm(1));
    void *own = malloc(1), *theirs = keep(10), *inner = duplicate("hundred");
    void *pointed = keep_through_pointer(1000), *found = looked_up(10000);
    size_t page = 4096;
    char *pages = mmap(NULL, 2 * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    disarm();
    totals_of(1, 1, &totals);
    CHECK(totals.blocks[DOMAIN_NATIVE][THREAD_OWN] == 4 + SEES_STRDUP);
    CHECK(totals.bytes[DOMAIN_NATIVE][THREAD_OWN] == 1 + 10 + 8 * SEES_STRDUP + 1000 + 10000);
    CHECK(totals.blocks[DOMAIN_MAPPING][THREAD_OWN] == 1);

    CHECK(arm(2));
    own = realloc(own, 101);
    int error = provoke();
    disarm();
    CHECK(error > 0);
    totals_of(2, 1, &totals);
    CHECK(totals.grown[DOMAIN_NATIVE][THREAD_OWN] == 100);
    CHECK(totals.blocks[DOMAIN_NATIVE][THREAD_OWN] == 0);

    free(own), free(theirs), free(inner), free(pointed), free(found);
    munmap(pages, 2 * page);
    CHECK(used() == 0);
    puts("exact");
    return 0;
}
