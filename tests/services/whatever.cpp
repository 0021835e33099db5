// A server for tests: ./whatever PORT MODE. Each order allocates 200 strings for a moment, and keeps
// what the mode says.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <unordered_map>
#include <vector>

static std::vector<std::string *> kept;
static std::unordered_map<unsigned, std::string> table;
static unsigned orders;

static void map(int flags) {
    void *start = mmap(nullptr, 8192, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
    memset(start, 1, 8192);
}

static void *from_arena(size_t size) {
    static char *at, *end;
    if (!at || at + size > end) {
        at = (char *)mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        end = at + (1 << 20);
    }
    at += size;
    return memset(at - size, 1, size);
}

static void order(const std::string &mode) {
    std::vector<std::string> parts;
    orders++;
    for (int part = 0; part < 200; part++) parts.emplace_back(100 + part, 'x');
    if (mode == "byte") *(volatile char *)malloc(1) = 1;
    if (mode == "lost") *(volatile char *)malloc(1000) = 1;
    if (mode == "held") kept.push_back(new std::string(1000, 'x'));
    if (mode == "rare" && orders % 100 == 0) *(volatile char *)malloc(5000) = 1;
    if (mode == "cache") table[orders % 700] = std::string(200, 'x');
    if (mode == "private") map(MAP_PRIVATE);
    if (mode == "shared") map(MAP_SHARED);
    if (mode == "arena") from_arena(4000);
}

int main(int, char **arguments) {
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
    const std::string mode = arguments[2];
    sockaddr_in address{};
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    signal(SIGPIPE, SIG_IGN);
    address.sin_family = AF_INET;
    address.sin_port = htons((unsigned short)atoi(arguments[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (sockaddr *)&address, sizeof address) || listen(listener, 64)) return 1;
    for (;;) {
        char request[4096];
        int caller = accept(listener, nullptr, nullptr);
        ssize_t count = read(caller, request, sizeof request - 1);
        if (count > 0) {
            request[count] = 0;
            if (strstr(request, "/orders")) order(mode);
            if (write(caller, answer, sizeof answer - 1) < 0) return 1;
        }
        close(caller);
    }
}
