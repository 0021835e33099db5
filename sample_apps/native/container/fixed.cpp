// A catalogue whose containers own strings and price lists by value.
#include <cstddef>
#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>

class Catalogue {
public:
    void add_title(const char *title);
    void add_prices(int article, std::size_t days);
    std::size_t characters() const;
    double price_sum() const;

private:
    std::vector<std::string> titles_;
    std::map<int, std::vector<double>> prices_;
};

__attribute__((noinline)) void Catalogue::add_title(const char *title)
{
    titles_.emplace_back(title);
}

__attribute__((noinline)) void Catalogue::add_prices(int article, std::size_t days)
{
    std::vector<double> list(days);
    for (std::size_t day = 0; day < days; day++)
        list[day] = article + 0.01 * static_cast<double>(day);
    prices_[article] = std::move(list);
}

std::size_t Catalogue::characters() const
{
    std::size_t sum = 0;
    for (const auto &title : titles_)
        sum += title.size();
    return sum;
}

double Catalogue::price_sum() const
{
    double sum = 0;
    for (const auto &entry : prices_)
        for (double price : entry.second)
            sum += price;
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

int main()
{
    print_catalogue();
    return 0;
}
