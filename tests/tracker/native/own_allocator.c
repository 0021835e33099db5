/* A library with an allocator of its own, bound to itself (RTLD_DEEPBIND): its blocks must never
   reach the C library's free. */
#include <stddef.h>

static char memory[1 << 16];
static size_t taken;
static int freed;

void *malloc(size_t size) {
    void *block = memory + taken;
    taken += (size + 15) & ~(size_t)15;
    return block;
}
void free(void *block) { freed += (char *)block >= memory && (char *)block < memory + sizeof memory; }

int use_own(void) {
    for (int round = 0; round < 10; round++) {
        char *block = malloc(16);
        if (block < memory || block >= memory + sizeof memory) return -1;
        free(block);
    }
    return freed;
}
