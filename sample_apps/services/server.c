/* A small HTTP server, one thread: ./server PORT fixed|leak|slow_leak|cache */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char *sessions[500];
static unsigned requests;

static char *new_session(size_t size)
{
    char *session = malloc(size);
    memset(session, 's', size);
    return session;
}

static void handle(const char *mode)
{
    char *session = NULL;
    requests++;
    if (!strcmp(mode, "leak")) {
        session = new_session(1024);
        session[0] = 0;
        return; /* BUG: the only pointer to the session is lost */
    }
    if (!strcmp(mode, "slow_leak")) {
        session = new_session(48);
        session[0] = 0;
        return; /* BUG: likewise */
    }
    if (!strcmp(mode, "cache")) {
        unsigned slot = requests % 500;
        free(sessions[slot]);
        sessions[slot] = new_session(4096);
        return;
    }
    free(new_session(1024));
}

static volatile sig_atomic_t is_over;

static void end(int number)
{
    (void)number;
    is_over = 1;
}

int main(int count, char **arguments)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct sigaction action = {.sa_handler = end};
    char request[4096];
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    if (count < 3)
        return 2;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    address.sin_port = htons((unsigned short)atoi(arguments[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64)) {
        perror("server");
        return 1;
    }
    while (!is_over) {
        int caller = accept(listener, NULL, NULL);
        if (caller < 0)
            continue;
        if (read(caller, request, sizeof request) > 0) {
            handle(arguments[2]);
            if (write(caller, answer, sizeof answer - 1) < 0)
                perror("server");
        }
        close(caller);
    }
    for (unsigned slot = 0; slot < 500; slot++)
        free(sessions[slot]);
    close(listener);
    return 0;
}
