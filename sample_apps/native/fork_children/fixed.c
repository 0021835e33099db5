/* A prefork server. Parent and children free what they allocate. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SETTINGS_BYTES = 100, INVOICE_BYTES = 200, INVOICES = 2, MEMBER_BYTES = 64, MEMBERS = 3 };

static __attribute__((noinline)) char *read_settings(void)
{
    char *settings = malloc(SETTINGS_BYTES);
    if (settings == NULL)
        abort();
    snprintf(settings, SETTINGS_BYTES, "workers=%d", 2);
    return settings;
}

static __attribute__((noinline)) int configured_workers(void)
{
    char *settings = read_settings();
    int workers = atoi(strchr(settings, '=') + 1);
    free(settings);
    return workers;
}

static __attribute__((noinline)) size_t render_invoice(int number)
{
    char *invoice = malloc(INVOICE_BYTES);
    if (invoice == NULL)
        abort();
    int length = snprintf(invoice, INVOICE_BYTES, "invoice %d", number);
    free(invoice);
    return (size_t)length;
}

static __attribute__((noinline)) size_t pack_member(int number)
{
    char *member = malloc(MEMBER_BYTES);
    if (member == NULL)
        abort();
    int length = snprintf(member, MEMBER_BYTES, "member %d", number);
    free(member);
    return (size_t)length;
}

static __attribute__((noinline)) size_t work(int worker)
{
    size_t done = 0;
    if (worker == 0)
        for (int i = 0; i < INVOICES; i++)
            done += render_invoice(i);
    else
        for (int i = 0; i < MEMBERS; i++)
            done += pack_member(i);
    return done;
}

int main(void)
{
    int workers = configured_workers();
    for (int worker = 0; worker < workers; worker++) {
        pid_t pid = fork();
        if (pid < 0)
            abort();
        if (pid == 0) {
            size_t done = work(worker);
            exit(done > 0 ? EXIT_SUCCESS : EXIT_FAILURE);
        }
    }
    while (wait(NULL) > 0)
        ;
    printf("%d workers have finished\n", workers);
    return 0;
}
