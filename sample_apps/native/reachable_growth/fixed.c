/* A service that remembers a request only until it has been answered. */
#include <stdio.h>
#include <stdlib.h>

struct request {
    struct request *next;
    long id;
    char path[48];
};

static struct request *request_log;
static long served;

static __attribute__((noinline)) struct request *remember_request(long id)
{
    struct request *request = malloc(sizeof *request);
    if (request == NULL)
        abort();
    request->id = id;
    snprintf(request->path, sizeof request->path, "/orders/%ld", id);
    request->next = request_log;
    request_log = request;
    return request;
}

static void forget_request(void)
{
    struct request *answered = request_log;
    request_log = answered->next;
    free(answered);
}

static __attribute__((noinline)) void serve_request(long id)
{
    const struct request *request = remember_request(id);
    if (request->path[0] == '/')
        served++;
    forget_request();
}

int main(int argc, char **argv)
{
    long requests = argc > 1 ? atol(argv[1]) : 50;
    for (long id = 1; id <= requests; id++)
        serve_request(id);
    printf("served %ld requests, the last one was %s\n", served,
           request_log != NULL ? request_log->path : "answered");
    return 0;
}
