/* What a service does to its allocator, one way per name; prints "ready", waits for a line between
   the steps, and stays until its input ends. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <linux/seccomp.h>
#include <unistd.h>

static void *kept[64];
static char line[16];

static void next_step(void) {
    puts("ready");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) exit(0);
}

static void keep_each_form(void) {
    int count = 0;
    kept[count++] = malloc(1);
    kept[count++] = calloc(3, 7);
    kept[count++] = realloc(NULL, 30);
    kept[count++] = realloc(malloc(5), 500);
    kept[count++] = reallocarray(NULL, 4, 10);
    if (posix_memalign(&kept[count++], 64, 100)) abort();
    kept[count++] = aligned_alloc(64, 128);
    kept[count++] = memalign(64, 200);
    kept[count++] = valloc(300);
    kept[count++] = strdup("123456789"); /* by the C library itself */
    kept[count++] = malloc(3 << 20);     /* a large one */
    free(malloc(1000));
    for (int at = 0; at < count; at++) ((volatile char *)kept[at])[0] = 1;
}

static void *thread_main(void *argument) {
    for (int at = 0; at < 20000; at++) free(malloc((size_t)at % 900));
    kept[(size_t)argument] = malloc(10 + (size_t)argument);
    return NULL;
}

static void threads(int count) {
    pthread_t all[64];
    for (long at = 0; at < count; at++) pthread_create(&all[at], NULL, thread_main, (void *)at);
    for (int at = 0; at < count; at++) pthread_join(all[at], NULL);
}

static void fork_a_child(void) {
    kept[0] = malloc(1000);
    pid_t child = fork();
    if (child == 0) {
        free(kept[0]); /* a copy: the parent still has it */
        kept[1] = malloc(77);
        next_step();
        _exit(0);
    }
    waitpid(child, NULL, 0);
}

static void map(void) {
    kept[0] = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    kept[1] = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    munmap(mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 1 << 20);
    munmap((char *)kept[1] + 4096, 4096);
    kept[2] = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    kept[2] = mremap(kept[2], 4096, 16384, MREMAP_MAYMOVE);
    mmap(NULL, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); /* no memory */
}

static void have_much_for_a_moment(void) {
    static void *blocks[5000];
    for (int at = 0; at < 5000; at++) blocks[at] = malloc(10 << 10);
    for (int at = 0; at < 5000; at++) free(blocks[at]);
}

/* A hundred blocks that nothing leads to, a hundred in a list, and a hundred in a lost list. */
static void lose(void) {
    void **held = NULL, **lost = NULL;
    for (int at = 0; at < 100; at++) {
        ((volatile char *)malloc(1000))[0] = 1;
        void **node = malloc(50), **other = malloc(70);
        *node = held;
        held = node;
        *other = lost;
        lost = other;
    }
    kept[0] = (char *)held + 16; /* to the middle of a block */
    memset(&lost, 0, sizeof lost);
    memset(&held, 0, sizeof held);
}

static void in_a_sandbox(void) {
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT); /* read, write and exit only */
    for (int at = 0; at < 10; at++) free(malloc(40));
    kept[0] = malloc(40);
    if (write(1, "ready\n", 6) != 6 || read(0, line, 2) < 0) abort();
}

int main(int count, char **arguments) {
    const char *what = count > 1 ? arguments[1] : "";
    setvbuf(stdout, malloc(4096), _IOFBF, 4096);
    setvbuf(stdin, malloc(4096), _IOFBF, 4096);
    kept[63] = malloc(4000); /* so that the allocator has room for the sandbox */
    free(kept[63]);
    free(malloc(40));
    next_step();
    if (!strcmp(what, "forms")) keep_each_form();
    if (!strcmp(what, "threads")) threads(63);
    if (!strcmp(what, "fork")) fork_a_child();
    if (!strcmp(what, "map")) map();
    if (!strcmp(what, "lose")) lose();
    if (!strcmp(what, "peak")) have_much_for_a_moment();
    if (!strcmp(what, "sandbox")) in_a_sandbox();
    if (!strcmp(what, "exec")) execl(arguments[0], arguments[0], "forms", NULL);
    if (!strcmp(what, "open")) {
        int (*use)(void) = (int (*)(void))dlsym(dlopen(arguments[2], RTLD_NOW), "use");
        if (!use || use() != 42) abort();
    }
    if (strcmp(what, "sandbox")) next_step();
    return 0;
}
