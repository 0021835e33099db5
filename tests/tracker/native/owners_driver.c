/* Objects and types of their exact sizes, so that a sanitizer sees each word that is read too far. */
#include <stdio.h>
#include <stdlib.h>

#include "owners.h"

#define TYPE_OFFSET 8
#define SIZE_OFFSET 32
#define CHECK(condition)                                                                           \
    if (!(condition)) {                                                                            \
        fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                    \
        exit(1);                                                                                   \
    }

static const ObjectLayout layout = {TYPE_OFFSET, SIZE_OFFSET};

static uintptr_t new_type(uintptr_t basic_size) {
    char *type = calloc(1, SIZE_OFFSET + sizeof(uintptr_t));
    *(uintptr_t *)(type + SIZE_OFFSET) = basic_size;
    return (uintptr_t)type;
}

/* An object of a type, of just its size, with a word at some place. */
static uintptr_t new_object(uintptr_t type, size_t allocated, size_t place, uintptr_t word) {
    char *object = calloc(1, allocated);
    *(uintptr_t *)(object + TYPE_OFFSET) = type;
    if (place) *(uintptr_t *)(object + place) = word;
    return (uintptr_t)object;
}

int main(void) {
    const uintptr_t tables[] = {0x1000, 0x2000, 0x3000, 0x2000, 0x4000};
    uint64_t owners[5];
    uintptr_t small = new_type(16), list = new_type(40), odd = new_type(37), large = new_type(400);
    uintptr_t objects[] = {
        new_object(small, 16, 0, 0),          /* nothing behind its type */
        new_object(list, 40, 24, 0x1000),     /* in the middle */
        new_object(list, 40, 32, 0x2000),     /* in the last word */
        new_object(list, 40, 16, 0x1000),     /* the second one with this table */
        new_object(odd, 37, 24, 0x1500),      /* no table's address */
        new_object(large, 128, 120, 0x3000),  /* the last word that is looked at */
        new_object(large, 400, 128, 0x4000),  /* one word further */
    };
    size_t count = sizeof objects / sizeof *objects;
    owners_find(objects, count, tables, 5, &layout, owners);
    CHECK(owners[0] == 1);
    CHECK(owners[1] == 2);
    CHECK(owners[2] == 5);
    CHECK(owners[3] == 2);
    CHECK(owners[4] == NO_OWNER);
    owners_find(objects, 0, tables, 5, &layout, owners);
    for (int at = 0; at < 5; at++) CHECK(owners[at] == NO_OWNER);
    owners_find(objects, count, tables, 0, &layout, owners);
    puts("as expected");
    for (size_t at = 0; at < count; at++) free((void *)objects[at]);
    free((void *)small), free((void *)list), free((void *)odd), free((void *)large);
    return 0;
}
