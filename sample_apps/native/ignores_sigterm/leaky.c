/* A sensor daemon that loses its readings, ignores SIGTERM and never ends. Run it with a time
 * limit: whoever stops it with SIGKILL gets no leak report. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SENSORS = 5, READING_BYTES = 32 };

static __attribute__((noinline)) char *take_reading(int sensor)
{
    char *reading = malloc(READING_BYTES);
    if (reading == NULL)
        abort();
    snprintf(reading, READING_BYTES, "sensor %d: %d C", sensor, 20 + sensor);
    return reading;
}

static __attribute__((noinline)) size_t poll_sensors(void)
{
    size_t characters = 0;
    for (int i = 0; i < SENSORS; i++) {
        char *reading = take_reading(i);
        characters += strlen(reading);
        /* BUG: the reading is never freed */
    }
    return characters;
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
    signal(SIGTERM, SIG_IGN); /* BUG: cannot be stopped politely */
    size_t characters = poll_sensors();
    scrub_stack();
    dprintf(STDOUT_FILENO, "ready, %zu characters\n", characters);
    for (;;)
        pause();
}
