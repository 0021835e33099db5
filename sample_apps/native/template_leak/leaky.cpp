// A ring buffer template without a destructor, used for two types: two leaks that differ only in
// the template argument.
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

// BUG: no destructor deletes the slots
template <typename T> class RingBuffer {
public:
    __attribute__((noinline)) explicit RingBuffer(std::size_t capacity)
        : slots_(allocate_slots<T>(capacity)), capacity_(capacity)
    {
    }

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

// Overwrites what finished calls left on the stack, so that no stale pointer hides a leak.
static __attribute__((noinline, no_sanitize_address)) void scrub_stack()
{
    volatile char old_frames[16 * 1024];
    for (std::size_t i = 0; i < sizeof old_frames; i++)
        old_frames[i] = 0;
}

int main()
{
    replay_market(250);
    scrub_stack();
    return 0;
}
