/* Loads the stock into a linked list and forgets the list's head. */
#include <stdio.h>
#include <stdlib.h>

enum { ARTICLES = 12 };

struct article {
    struct article *next;
    int sku;
    int quantity;
};

static __attribute__((noinline)) struct article *prepend_article(struct article *head, int sku,
                                                                 int quantity)
{
    struct article *article = malloc(sizeof *article);
    if (article == NULL)
        abort();
    article->next = head;
    article->sku = sku;
    article->quantity = quantity;
    return article;
}

static __attribute__((noinline)) struct article *load_stock(int count)
{
    struct article *head = NULL;
    for (int i = 0; i < count; i++)
        head = prepend_article(head, 7000 + i, i * 5);
    return head;
}

static __attribute__((noinline)) int count_stock(void)
{
    int total = 0;
    for (struct article *article = load_stock(ARTICLES); article != NULL; article = article->next)
        total += article->quantity;
    /* BUG: the loop variable was the only pointer to the list */
    return total;
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
    int total = count_stock();
    scrub_stack();
    printf("%d pieces in stock\n", total);
    return 0;
}
