// A ring buffer template that owns its slots, used for two types.
#include <cstddef>
#include <cstdio>

struct Trade {
    double price;
    long quantity;
};

static double value_of(int tick)
{
    return tick;
}

static double value_of(const Trade &trade)
{
    return trade.price * static_cast<double>(trade.quantity);
}

template <typename T> __attribute__((noinline)) T *allocate_slots(std::size_t count)
{
    T *slots = new T[count]();
    return slots;
}

template <typename T> class RingBuffer {
public:
    __attribute__((noinline)) explicit RingBuffer(std::size_t capacity)
        : slots_(allocate_slots<T>(capacity)), capacity_(capacity)
    {
    }

    ~RingBuffer() { delete[] slots_; }
    RingBuffer(const RingBuffer &) = delete;
    RingBuffer &operator=(const RingBuffer &) = delete;

    void push(const T &item) { slots_[next_++ % capacity_] = item; }

    double sum() const
    {
        double total = 0;
        for (std::size_t i = 0; i < capacity_; i++)
            total += value_of(slots_[i]);
        return total;
    }

private:
    T *slots_;
    std::size_t capacity_;
    std::size_t next_ = 0;
};

static __attribute__((noinline)) void replay_market(int events)
{
    RingBuffer<int> ticks(100);
    RingBuffer<Trade> trades(20);
    for (int i = 0; i < events; i++) {
        ticks.push(i);
        trades.push(Trade{0.5 * i, 10});
    }
    std::printf("ticks %.1f, trades %.1f\n", ticks.sum(), trades.sum());
}

int main()
{
    replay_market(250);
    return 0;
}
