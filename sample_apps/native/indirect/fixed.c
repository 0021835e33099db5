/* Loads the stock into a linked list and frees it after counting. */
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

static void free_stock(struct article *head)
{
    while (head != NULL) {
        struct article *next = head->next;
        free(head);
        head = next;
    }
}

static __attribute__((noinline)) int count_stock(void)
{
    int total = 0;
    struct article *head = load_stock(ARTICLES);
    for (struct article *article = head; article != NULL; article = article->next)
        total += article->quantity;
    free_stock(head);
    return total;
}

int main(void)
{
    int total = count_stock();
    printf("%d pieces in stock\n", total);
    return 0;
}
