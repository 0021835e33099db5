/* A sensor daemon that frees its readings and ends on SIGTERM, or by itself after two seconds. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SENSORS = 5, READING_BYTES = 32, ROUNDS = 20 };

static volatile sig_atomic_t is_stopping;

static void request_stop(int signal_number)
{
    (void)signal_number;
    is_stopping = 1;
}

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
        free(reading);
    }
    return characters;
}

int main(void)
{
    signal(SIGTERM, request_stop);
    size_t characters = poll_sensors();
    dprintf(STDOUT_FILENO, "ready, %zu characters\n", characters);
    for (int round = 0; round < ROUNDS && !is_stopping; round++) {
        struct timespec pause = {.tv_sec = 0, .tv_nsec = 100 * 1000 * 1000};
        nanosleep(&pause, NULL);
    }
    return 0;
}
