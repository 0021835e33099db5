// A library that is opened and closed again and again; gives back all that it takes.
#include <string>
#include <vector>

extern "C" __attribute__((visibility("default"))) int use() {
    std::vector<std::string> texts(100, std::string(200, 'x'));
    return texts.back().size() == 200 ? 42 : 0;
}
