/* A prefork server. The parent loses its settings before it forks, and each kind of child loses
 * something of its own. Every child inherits the parent's lost block, so a tool that reports
 * each process shows that block three times; it is one leak. */
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
    return atoi(strchr(settings, '=') + 1);
    /* BUG: the settings are never freed */
}

static __attribute__((noinline)) size_t render_invoice(int number)
{
    char *invoice = malloc(INVOICE_BYTES);
    if (invoice == NULL)
        abort();
    return (size_t)snprintf(invoice, INVOICE_BYTES, "invoice %d", number); /* BUG: lost */
}

static __attribute__((noinline)) size_t pack_member(int number)
{
    char *member = malloc(MEMBER_BYTES);
    if (member == NULL)
        abort();
    return (size_t)snprintf(member, MEMBER_BYTES, "member %d", number); /* BUG: lost */
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

/* Overwrites what finished calls left on the stack, so that no stale pointer hides a leak. */
static __attribute__((noinline, no_sanitize_address)) void scrub_stack(void)
{
    volatile char old_frames[16 * 1024];
    for (size_t i = 0; i < sizeof old_frames; i++)
        old_frames[i] = 0;
}

int main(void)
{
    int workers = configured_workers();
    scrub_stack();
    for (int worker = 0; worker < workers; worker++) {
        pid_t pid = fork();
        if (pid < 0)
            abort();
        if (pid == 0) {
            size_t done = work(worker);
            scrub_stack();
            exit(done > 0 ? EXIT_SUCCESS : EXIT_FAILURE);
        }
    }
    while (wait(NULL) > 0)
        ;
    printf("%d workers have finished\n", workers);
    return 0;
}
