// ./server PORT SHAPE LIMIT [SIZE]: keeps an entry of each order of so many bytes, at most LIMIT of
// them; 0 is without end.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <deque>
#include <list>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

using Entry = std::pair<unsigned, std::string>;
static unsigned orders, limit;
static std::string text(200, 'x');

static void lru() {
    static std::list<Entry> newest_first;
    static std::unordered_map<unsigned, std::list<Entry>::iterator> by_number;
    newest_first.emplace_front(orders, text);
    by_number[orders] = newest_first.begin();
    if (limit && by_number.size() > limit) {
        by_number.erase(newest_first.back().first);
        newest_first.pop_back();
    }
}

static void ring() {
    static std::vector<char *> slots(limit);
    if (!limit) {
        slots.push_back(strdup(text.c_str()));
        return;
    }
    free(slots[orders % limit]);
    slots[orders % limit] = strdup(text.c_str());
}

static void table() {
    static std::unordered_map<unsigned, std::string> entries;
    entries[orders] = text;
    if (limit && entries.size() > limit) entries.erase(entries.begin());
}

static void flush() {
    static std::map<unsigned, std::string> entries;
    entries[orders] = text;
    if (limit && entries.size() > limit) entries.clear();
}

static void queue() {
    static std::deque<std::string *> entries;
    entries.push_back(new std::string(text));
    if (limit && entries.size() > limit) {
        delete entries.front();
        entries.pop_front();
    }
}

static void order(const std::string &shape) {
    std::vector<std::string> parts;
    for (int part = 0; part < 50; part++) parts.emplace_back(100 + part, 'x');
    orders++;
    if (shape == "lost") memset(malloc(text.size()), 1, text.size());
    if (shape == "lru") lru();
    if (shape == "ring") ring();
    if (shape == "table") table();
    if (shape == "flush") flush();
    if (shape == "queue") queue();
}

int main(int count, char **arguments) {
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
    const std::string shape = arguments[2];
    sockaddr_in address{};
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    limit = (unsigned)atoi(arguments[3]);
    if (count > 4) text.assign((size_t)atoi(arguments[4]), 'x');
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
            if (strstr(request, "/orders")) order(shape);
            if (write(caller, answer, sizeof answer - 1) < 0) return 1;
        }
        close(caller);
    }
}
