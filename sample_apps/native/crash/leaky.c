/* Loses customer profiles, then dies of a null pointer: a customer that does not exist is used
 * without a check. What was lost before the crash is still worth a report. */
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
        /* BUG: the profile is never freed */
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

/* Overwrites what finished calls left on the stack, so that no stale pointer hides a leak. */
static __attribute__((noinline, no_sanitize_address)) void scrub_stack(void)
{
    volatile char old_frames[16 * 1024];
    for (size_t i = 0; i < sizeof old_frames; i++)
        old_frames[i] = 0;
}

int main(void)
{
    size_t characters = check_profiles();
    scrub_stack();
    dprintf(STDOUT_FILENO, "%zu characters in profiles\n", characters);

    struct customer *customer = find_customer(4);
    customer->discount = 15; /* BUG: there is no customer 4 */
    dprintf(STDOUT_FILENO, "discount granted to %d\n", customer->id);
    return 0;
}
