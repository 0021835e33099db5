// Observers that are registered by each request and never taken away: ./observers PORT.
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>

class Observer {
public:
    virtual ~Observer() = default;
    virtual int changed() = 0;
};

class Audit final : public Observer {
public:
    explicit Audit(std::string who) : who_(std::move(who)), history_(24) {} // LEAK
    int changed() override { return static_cast<int>(who_.size() + history_.size()); }

private:
    std::string who_;
    std::list<int> history_;
};

class Stock {
public:
    void observe(std::shared_ptr<Observer> observer) { observers_[next_++] = std::move(observer); }
    static Stock &instance() {
        static Stock stock;
        return stock;
    }

private:
    std::unordered_map<int, std::shared_ptr<Observer>> observers_;
    int next_ = 0;
};

static std::string page(const std::string &request) {
    Stock::instance().observe(std::make_shared<Audit>(request.substr(0, 60)));
    return "ok\n";
}

int main(int count, char **arguments) {
    if (count < 2) return 2;
    sockaddr_in address = {};
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<unsigned short>(std::atoi(arguments[1])));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, reinterpret_cast<sockaddr *>(&address), sizeof address) || listen(listener, 16)) return 1;
    for (;;) {
        int caller = accept(listener, nullptr, nullptr);
        char request[2048];
        ssize_t length = read(caller, request, sizeof request);
        if (length > 0) {
            std::string body = page(std::string(request, static_cast<size_t>(length)));
            std::string reply = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " +
                                std::to_string(body.size()) + "\r\n\r\n" + body;
            if (write(caller, reply.data(), reply.size()) < 0) std::perror("write");
        }
        close(caller);
    }
}
