/* Has looked up what is not there before anything is freed, as HAProxy does: the loader frees the
   text of that error in the middle of the next look-up. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    char line[16];
    setvbuf(stdin, NULL, _IONBF, 0);
    if (dlsym(RTLD_NEXT, "is_nowhere")) return 1;
    free(malloc(40));
    setvbuf(stdout, NULL, _IONBF, 0);
    puts("ready");
    if (!fgets(line, sizeof line, stdin)) return 0;
    *(volatile char *)malloc(77) = 1;
    puts("ready");
    return fgets(line, sizeof line, stdin) == NULL;
}
