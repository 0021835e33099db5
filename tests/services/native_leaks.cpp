// A service for tests that leaks in one of several ways: ./native_leaks PORT MODE. Single-threaded
// unless the mode says otherwise; a line that leaks ends with "LINE mode".
#include <arpa/inet.h>
#include <netinet/in.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace shop {

struct Order {
    explicit Order(int number) : text("order " + std::to_string(number) + std::string(80, '.')) {} // LINE by_key
    std::string text;
};

std::map<std::string, std::unique_ptr<Order>> by_key;
std::vector<std::function<int()>> listeners;
std::deque<std::string> recent;
char *journal;
size_t journal_size;
void *kept;

__attribute__((noinline)) void lost(int) {
    kept = malloc(100); // LINE lost
    memset(kept, 1, 100);
}

__attribute__((noinline)) void keyed(int number) {
    by_key["key " + std::to_string(number)] = std::make_unique<Order>(number);
}

__attribute__((noinline)) void grown(int) {
    journal = static_cast<char *>(realloc(journal, journal_size + 64)); // LINE grown
    memset(journal + journal_size, 'j', 64);
    journal_size += 64;
}

__attribute__((noinline)) void mapped(int) {
    kept = mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); // LINE mapped
    memset(kept, 1, 8192);
}

__attribute__((noinline)) void copied(int) {
    kept = strdup("a text that nobody frees"); // LINE copied
}

__attribute__((noinline)) void listened(int number) {
    auto text = std::make_shared<std::string>(300, 'x'); // LINE listened
    listeners.push_back([text, number] { return static_cast<int>(text->size()) + number; });
}

// A full cache, whose turnover is larger than the leak beside it.
__attribute__((noinline)) void beside_cache(int number) {
    recent.emplace_back(2000, 'r');
    if (recent.size() > 60) recent.pop_front();
    if (number % 2 == 0) kept = malloc(64); // LINE beside_cache
}

__attribute__((noinline)) void rare(int number) {
    if (number % 40 == 0) kept = malloc(4000); // LINE rare
}

__attribute__((noinline)) void opened(int) {
    if (open("/dev/null", O_RDONLY) < 0) perror("open"); // LINE opened
}

__attribute__((noinline)) void streamed(int) {
    if (!fopen("/dev/zero", "r")) perror("fopen"); // LINE streamed
}

__attribute__((noinline)) void connected(int) {
    if (socket(AF_UNIX, SOCK_STREAM, 0) < 0) perror("socket"); // LINE connected
}

__attribute__((noinline)) void polled(int) {
    if (epoll_create1(0) < 0) perror("epoll_create1"); // LINE polled
}

__attribute__((noinline)) void threaded(int) {
    std::thread([] { for (;;) pause(); }).detach(); // LINE threaded
}

__attribute__((noinline)) void forked(int number) {
    if (number % 10 == 0 && fork() == 0) _exit(0); // LINE forked
}

__attribute__((noinline)) void written(int number) {
    static std::string *text = new std::string;
    *text += "served order number " + std::to_string(100000 + number) + "\n"; // LINE written
}

void handle(const std::string &mode, int number) {
    std::vector<std::string> temporary;
    for (int i = 0; i < 50; i++) temporary.emplace_back(100 + i, 't');
    if (mode == "lost") lost(number);
    if (mode == "by_key") keyed(number);
    if (mode == "grown") grown(number);
    if (mode == "mapped") mapped(number);
    if (mode == "copied") copied(number);
    if (mode == "listened") listened(number);
    if (mode == "beside_cache") beside_cache(number);
    if (mode == "rare") rare(number);
    if (mode == "in_thread") std::thread([number] { lost(number); }).join();
    if (mode == "in_worker") lost(number);
    if (mode == "opened") opened(number);
    if (mode == "streamed") streamed(number);
    if (mode == "connected") connected(number);
    if (mode == "polled") polled(number);
    if (mode == "threaded") threaded(number);
    if (mode == "forked") forked(number);
    if (mode == "written") written(number);
}

void serve(int listener, const std::string &mode) {
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
    for (int number = 0;; number++) {
        int caller = accept(listener, nullptr, nullptr);
        char request[4096];
        if (caller < 0) continue;
        if (read(caller, request, sizeof request) > 0) {
            handle(mode, number);
            if (write(caller, answer, sizeof answer - 1) < 0) perror("write");
        }
        close(caller);
    }
}

} // namespace shop

int main(int count, char **arguments) {
    if (count < 3) return 2;
    sockaddr_in address = {};
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<unsigned short>(atoi(arguments[1])));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, reinterpret_cast<sockaddr *>(&address), sizeof address) || listen(listener, 64)) return 1;
    std::string mode = arguments[2];
    if (mode == "in_worker")
        for (int worker = 0; worker < 3; worker++)
            if (fork() == 0) shop::serve(listener, mode);
    if (mode == "in_worker")
        while (wait(nullptr) > 0) {}
    shop::serve(listener, mode);
}
