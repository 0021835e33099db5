// A catalogue whose containers hold owning raw pointers: the containers free themselves, but not
// what they point to.
#include <cstddef>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

class Catalogue {
public:
    // BUG: no destructor deletes the titles and price lists
    void add_title(const char *title);
    void add_prices(int article, std::size_t days);
    std::size_t characters() const;
    double price_sum() const;

private:
    std::vector<std::string *> titles_;
    std::map<int, double *> prices_;
    std::size_t days_ = 0;
};

__attribute__((noinline)) void Catalogue::add_title(const char *title)
{
    auto *owned = new std::string(title);
    titles_.push_back(owned);
}

__attribute__((noinline)) void Catalogue::add_prices(int article, std::size_t days)
{
    auto *list = new double[days];
    for (std::size_t day = 0; day < days; day++)
        list[day] = article + 0.01 * static_cast<double>(day);
    prices_[article] = list;
    days_ = days;
}

std::size_t Catalogue::characters() const
{
    std::size_t sum = 0;
    for (const auto *title : titles_)
        sum += title->size();
    return sum;
}

double Catalogue::price_sum() const
{
    double sum = 0;
    for (const auto &entry : prices_)
        for (std::size_t day = 0; day < days_; day++)
            sum += entry.second[day];
    return sum;
}

static __attribute__((noinline)) void print_catalogue()
{
    Catalogue catalogue;
    catalogue.add_title("The Art of Computer Programming");
    catalogue.add_title("A Discipline of Programming");
    catalogue.add_title("Structured Programming");
    catalogue.add_prices(17, 30);
    catalogue.add_prices(42, 30);
    std::printf("%zu characters, %.2f in prices\n", catalogue.characters(),
                catalogue.price_sum());
}

// Overwrites what finished calls left on the stack, so that no stale pointer hides a leak.
static __attribute__((noinline, no_sanitize_address)) void scrub_stack()
{
    volatile char old_frames[16 * 1024];
    for (std::size_t i = 0; i < sizeof old_frames; i++)
        old_frames[i] = 0;
}

int main()
{
    print_catalogue();
    scrub_stack();
    return 0;
}
