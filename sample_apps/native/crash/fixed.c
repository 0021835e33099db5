/* Frees customer profiles and checks that a customer exists. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CUSTOMERS = 3, PROFILE_BYTES = 80 };

struct customer {
    int id;
    int discount;
};

static struct customer customers[CUSTOMERS] = {{1, 5}, {2, 10}, {3, 0}};

static __attribute__((noinline)) char *load_profile(const struct customer *customer)
{
    char *profile = malloc(PROFILE_BYTES);
    if (profile == NULL)
        abort();
    snprintf(profile, PROFILE_BYTES, "customer %d, %d %%", customer->id, customer->discount);
    return profile;
}

static __attribute__((noinline)) size_t check_profiles(void)
{
    size_t characters = 0;
    for (int i = 0; i < CUSTOMERS; i++) {
        char *profile = load_profile(&customers[i]);
        characters += strlen(profile);
        free(profile);
    }
    return characters;
}

static __attribute__((noinline)) struct customer *find_customer(int id)
{
    for (int i = 0; i < CUSTOMERS; i++)
        if (customers[i].id == id)
            return &customers[i];
    return NULL;
}

int main(void)
{
    size_t characters = check_profiles();
    dprintf(STDOUT_FILENO, "%zu characters in profiles\n", characters);

    struct customer *customer = find_customer(4);
    if (customer == NULL) {
        dprintf(STDOUT_FILENO, "no customer 4\n");
        return 0;
    }
    customer->discount = 15;
    dprintf(STDOUT_FILENO, "discount granted to %d\n", customer->id);
    return 0;
}
