/* ./endurance LIBRARY OWN_MALLOC: does in each round all that makes a preloaded library's life hard. */
#include <dlfcn.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 8, BLOCKS = 2000, SHARED = 64 };
static void *shared[SHARED]; /* what one thread allocates another one frees */
static char line[16];

static void *work(void *argument) {
    void *mine[16] = {0};
    unsigned chance = (unsigned)(size_t)argument * 2654435761u;
    for (int at = 0; at < BLOCKS; at++) {
        chance = chance * 1664525u + 1013904223u;
        void **place = &mine[chance >> 28];
        *place = at % 3 ? realloc(*place, 1 + (chance >> 16) % 5000) : (free(*place), malloc(40));
        free(__atomic_exchange_n(&shared[chance % SHARED], malloc(24), __ATOMIC_ACQ_REL));
    }
    for (int at = 0; at < 16; at++) free(mine[at]);
    void *mapped = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(mapped, 1, 1 << 16);
    munmap(mapped, 1 << 16);
    return NULL;
}

static void in_threads(void) {
    pthread_t threads[THREADS];
    for (size_t at = 0; at < THREADS; at++) pthread_create(&threads[at], NULL, work, (void *)(at + 1));
    for (size_t at = 0; at < THREADS; at++) pthread_join(threads[at], NULL);
    for (int at = 0; at < SHARED; at++) {
        free(shared[at]);
        shared[at] = NULL;
    }
}

/* Runs it in a child, which has to end with 0. */
static void in_a_child(void (*act)(void)) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        act();
        _exit(1);
    }
    if (waitpid(child, &status, 0) != child || status != 0) {
        fprintf(stderr, "a child ended with %x\n", status);
        exit(3);
    }
}

static void allocate_and_end(void) {
    work((void *)7);
    exit(0);
}

static void as_nobody(void) {
    if (geteuid() == 0 && (setgid(65534) || setuid(65534))) _exit(2);
    work((void *)9);
    _exit(0);
}

static void in_a_sandbox(void) {
    free(malloc(40)); /* the allocator has room */
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
    for (int at = 0; at < 100; at++) free(malloc(40));
    syscall(SYS_exit, 0);
}

static const char *program;
static void replace(void) {
    if (!freopen("/dev/null", "r", stdin) || !freopen("/dev/null", "w", stdout)) _exit(5);
    execl(program, program, (char *)NULL);
}
static void replace_by_true(void) { execl("/bin/true", "true", (char *)NULL); }

int main(int count, char **arguments) {
    if (count < 3) return 2;
    program = arguments[2];
    setvbuf(stdout, malloc(4096), _IOFBF, 4096);
    setvbuf(stdin, malloc(4096), _IOFBF, 4096);
    for (;;) {
        puts("ready");
        fflush(stdout);
        if (!fgets(line, sizeof line, stdin)) return 0;
        in_threads();
        in_a_child(allocate_and_end);
        in_a_child(as_nobody);
        in_a_child(in_a_sandbox);
        in_a_child(replace_by_true);
        in_a_child(replace);
        void *library = dlopen(arguments[1], RTLD_NOW);
        int (*use)(void) = (int (*)(void))dlsym(library, "use");
        if (!use || use() != 42) return 4;
        dlclose(library);
    }
}
