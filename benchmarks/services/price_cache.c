/* Prices by key, kept in a hash table that nobody bounds: ./price_cache PORT. A thread answers each
   caller. */
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct price {
    struct price *next;
    char *key;
    double amounts[12];
};

#define BUCKETS 256
static struct price *buckets[BUCKETS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned served;

static unsigned hash(const char *key) {
    unsigned value = 5381;
    while (*key) value = value * 33 ^ (unsigned char)*key++;
    return value % BUCKETS;
}

static struct price *look_up(const char *key) {
    struct price *found = buckets[hash(key)];
    while (found && strcmp(found->key, key)) found = found->next;
    return found;
}

static struct price *price_of(const char *key) {
    struct price *found = look_up(key);
    if (found) return found;
    found = calloc(1, sizeof *found); /* LEAK */
    found->key = strdup(key);
    found->next = buckets[hash(key)];
    return buckets[hash(key)] = found;
}

static void *answer(void *argument) {
    int caller = (int)(intptr_t)argument;
    char request[2048], reply[128], key[40];
    ssize_t length;
    while ((length = read(caller, request, sizeof request)) > 0) {
        pthread_mutex_lock(&lock);
        snprintf(key, sizeof key, "customer-%u", served++);
        double first = price_of(key)->amounts[0];
        pthread_mutex_unlock(&lock);
        char *body = malloc(512);
        int size = snprintf(body, 512, "%.2f\n", first);
        int head = snprintf(reply, sizeof reply, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, body);
        free(body);
        if (write(caller, reply, (size_t)head) < 0) break;
    }
    close(caller);
    return NULL;
}

int main(int count, char **arguments) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    if (count < 2) return 2;
    signal(SIGPIPE, SIG_IGN);
    address.sin_port = htons((unsigned short)atoi(arguments[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16)) return 1;
    for (;;) {
        pthread_t thread;
        int caller = accept(listener, NULL, NULL);
        if (caller >= 0 && pthread_create(&thread, NULL, answer, (void *)(intptr_t)caller) == 0)
            pthread_detach(thread);
    }
}
