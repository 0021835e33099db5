// A server for tests: ./whatever PORT MODE. Each order allocates 200 strings for a moment, and keeps
// what the mode says.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <deque>
#include <list>
#include <map>
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

struct Link {
    Link *next;
    char *text;
};
static Link *newest;

static void push() { newest = new Link{newest, strdup(std::string(150, 'x').c_str())}; }

static void give_back_links() {
    while (newest) {
        Link *link = newest;
        newest = link->next;
        free(link->text);
        delete link;
    }
}

static bool is_next_second() {
    static time_t last = time(nullptr);
    bool is_next = time(nullptr) != last;
    last = time(nullptr);
    return is_next;
}

/* Services that are clean, but keep something of each order for a while. */
static bool bounded(const std::string &mode) {
    static std::list<std::pair<unsigned, std::string>> newest_first;
    static std::map<unsigned, std::list<std::pair<unsigned, std::string>>::iterator> by_number;
    static std::deque<std::string> last_ones;
    static char *ring[1024];
    if (mode == "lru") {
        newest_first.emplace_front(orders, std::string(200, 'x'));
        by_number[orders] = newest_first.begin();
        if (by_number.size() > 1000) {
            by_number.erase(newest_first.back().first);
            newest_first.pop_back();
        }
    } else if (mode == "deque") {
        last_ones.emplace_back(200, 'x');
        if (last_ones.size() > 1000) last_ones.pop_front();
    } else if (mode == "ring") {
        free(ring[orders % 1024]);
        ring[orders % 1024] = strdup(std::string(200, 'x').c_str());
    } else if (mode == "flush") {
        kept.push_back(new std::string(200, 'x'));
        if (kept.size() < 1000) return true;
        for (std::string *text : kept) delete text;
        kept.clear();
    } else if (mode == "stack") {
        push();
        if (orders % 256 == 0) give_back_links();
    } else if (mode == "timer") {
        if (is_next_second()) give_back_links();
        push();
    } else {
        return false;
    }
    return true;
}

/* Closes connections whose client is gone only when their time to be idle is over. */
static void close_later(int caller) {
    static std::deque<std::pair<time_t, int>> idle;
    if (caller >= 0) idle.emplace_back(time(nullptr) + 3, caller);
    while (!idle.empty() && idle.front().first < time(nullptr)) {
        close(idle.front().second);
        idle.pop_front();
    }
}

static void order(const std::string &mode) {
    std::vector<std::string> parts;
    orders++;
    for (int part = 0; part < 200; part++) parts.emplace_back(100 + part, 'x');
    if (bounded(mode)) return;
    if (mode == "chain") push();
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
        bool is_idle = mode == "idle" && orders % 10 == 0;
        if (mode == "idle") close_later(is_idle ? caller : -1);
        if (!is_idle) close(caller);
    }
}
