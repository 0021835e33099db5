// Each form of operator new and delete, and one that throws; as a program and as a library that is
// opened while the program runs.
#include <cstdio>
#include <new>
#include <string>
#include <vector>

struct alignas(64) Wide { char bytes[64]; };

static void *kept[8];

static int each_form() {
    kept[0] = new char;
    kept[1] = new char[21];
    kept[2] = new (std::nothrow) char[100];
    kept[3] = new Wide;
    kept[4] = new Wide[2];
    delete new int;
    delete[] new int[50];
    delete new Wide;
    std::vector<std::string> texts(100, std::string(200, 'x'));
#ifndef THROWS
    return 42;
#endif
    try {
        volatile size_t much = size_t(1) << 62;
        delete[] new char[much];
    } catch (const std::bad_alloc &) {
        return 42;
    }
    return 0;
}

extern "C" __attribute__((visibility("default"))) int use() { return each_form(); }

#ifdef PROGRAM
int main() {
    char line[16];
    auto next_step = [&] { std::puts("ready"); std::fflush(stdout); return std::fgets(line, 16, stdin); };
    std::setvbuf(stdout, nullptr, _IONBF, 0);
    std::setvbuf(stdin, nullptr, _IONBF, 0);
    next_step();
    if (each_form() != 42) return 3;
    next_step();
    return 0;
}
#endif
