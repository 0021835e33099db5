/* Exports orders as text lines. Every formatted line is lost after it was counted. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ORDERS = 10, LINE_BYTES = 48 };

struct order {
    int number;
    int quantity;
    double price;
};

/* The caller owns the line. */
static __attribute__((noinline)) char *format_order(const struct order *order)
{
    char *line = malloc(LINE_BYTES);
    if (line == NULL)
        abort();
    snprintf(line, LINE_BYTES, "%d;%d;%.2f", order->number, order->quantity, order->price);
    return line;
}

static __attribute__((noinline)) size_t export_orders(int count)
{
    size_t written = 0;
    for (int i = 0; i < count; i++) {
        struct order order = {.number = 1000 + i, .quantity = i % 3 + 1, .price = 9.99 * i};
        char *line = format_order(&order);
        written += strlen(line) + 1;
        /* BUG: the line is never freed */
    }
    return written;
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
    size_t written = export_orders(ORDERS);
    scrub_stack();
    printf("exported %d orders, %zu bytes\n", ORDERS, written);
    return 0;
}
