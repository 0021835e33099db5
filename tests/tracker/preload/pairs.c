/* Nanoseconds of processor time for malloc and free, or operator new and delete. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifdef CXX
#include <new>
#define ALLOCATE ::operator new
#define RELEASE ::operator delete
#else
#define ALLOCATE malloc
#define RELEASE free
#endif

int main(void) {
    enum { ROUNDS = 20000, BLOCKS = 200 };
    static void *volatile blocks[BLOCKS];
    struct timespec begin, end;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
    for (int round = 0; round < ROUNDS; round++) {
        for (int at = 0; at < BLOCKS; at++) blocks[at] = ALLOCATE(16 + (size_t)at * 37 % 600);
        for (int at = 0; at < BLOCKS; at++) RELEASE(blocks[at]);
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    double spent = (end.tv_sec - begin.tv_sec) * 1e9 + (end.tv_nsec - begin.tv_nsec);
    printf("%.2f\n", spent / ROUNDS / BLOCKS);
    return 0;
}
