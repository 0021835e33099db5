/* Starts itself twice with --import. Parent and started processes free what they allocate. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { IMPORTS = 2, ROWS = 4, ROW_BYTES = 72 };

static __attribute__((noinline)) char *read_row(int number)
{
    char *row = malloc(ROW_BYTES);
    if (row == NULL)
        abort();
    snprintf(row, ROW_BYTES, "row %d", number);
    return row;
}

static __attribute__((noinline)) size_t import_rows(int count)
{
    size_t characters = 0;
    for (int i = 0; i < count; i++) {
        char *row = read_row(i);
        characters += strlen(row);
        free(row);
    }
    return characters;
}

static int start_import(void)
{
    char program[4096];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length < 0)
        return -1;
    program[length] = '\0';

    pid_t pid = fork();
    if (pid == 0) {
        execl(program, program, "--import", (char *)NULL);
        _exit(127);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return -1;
    return status;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--import") == 0) {
        size_t characters = import_rows(ROWS);
        printf("imported %zu characters\n", characters);
        return 0;
    }
    for (int i = 0; i < IMPORTS; i++)
        if (start_import() == -1)
            return 1;
    return 0;
}
