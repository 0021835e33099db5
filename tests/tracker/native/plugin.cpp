// A C++ library: every form of operator new.
#include <cstddef>
#include <new>

struct alignas(128) Wide {
    char bytes[256];
};

extern "C" {
void *make_one() { return new char; }
void *make_array(std::size_t size) { return new char[size]; }
void *make_nothrow(std::size_t size) { return new (std::nothrow) char[size]; }
void *make_wide() { return new Wide; }
void drop_one(void *block) { delete static_cast<char *>(block); }
void drop_array(void *block) { delete[] static_cast<char *>(block); }
void drop_wide(void *block) { delete static_cast<Wide *>(block); }
// 1 when operator new threw, through whatever is in between.
int throws(std::size_t size) {
    try {
        volatile char *block = new char[size];
        delete[] block;
        return 0;
    } catch (const std::bad_alloc &) {
        return 1;
    }
}
}
