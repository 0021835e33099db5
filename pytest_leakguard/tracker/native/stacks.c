#define _GNU_SOURCE
#include "stacks.h"

#include <dlfcn.h>
#include <string.h>

#ifdef __ELF__
#include <link.h>
#endif

#include "pages.h"
#include "table.h"

/* Of the C++ ABI for unwinding, which libgcc_s and libunwind share. */
typedef int (*UnwindStep)(void *context, void *argument);
typedef int (*UnwindBacktrace)(UnwindStep step, void *argument);
typedef uintptr_t (*UnwindGetIp)(void *context);
#define UNWIND_CONTINUE 0 /* _URC_NO_REASON */
#define UNWIND_END 5      /* _URC_END_OF_STACK */

/* Rooms for stacks at first; doubled when full. */
#define SMALLEST_CAPACITY 1024
#define NO_ROOM UINT64_MAX

static UnwindBacktrace unwind_backtrace;
static UnwindGetIp unwind_get_ip;
_Atomic unsigned stacks_depth;
static uintptr_t own_start, own_end;

/* Which room a block's stack is in. A room is stacks_depth + 1 words: the depth, then the frames. */
static Table rooms_by_address;
static uintptr_t *rooms;
static uint64_t rooms_capacity, rooms_used, first_free_room = NO_ROOM;

static size_t room_words(void) { return (size_t)stacks_depth + 1; }

static uintptr_t *room(uint64_t number) { return rooms + number * room_words(); }

#ifdef __ELF__
static int find_own_object(struct dl_phdr_info *info, size_t size, void *argument) {
    (void)size, (void)argument;
    uintptr_t own = (uintptr_t)&stacks_depth, start = UINTPTR_MAX, end = 0;
    for (int at = 0; at < info->dlpi_phnum; at++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[at];
        if (segment->p_type != PT_LOAD) continue;
        uintptr_t segment_start = info->dlpi_addr + segment->p_vaddr;
        if (segment_start < start) start = segment_start;
        if (segment_start + segment->p_memsz > end) end = segment_start + segment->p_memsz;
    }
    if (own < start || own >= end) return 0;
    own_start = start;
    own_end = end;
    return 1;
}
#endif

static void forget_all(void) {
    table_clear(&rooms_by_address);
    if (rooms) pages_unmap(rooms, rooms_capacity * room_words() * sizeof(uintptr_t));
    rooms = NULL;
    rooms_capacity = rooms_used = 0;
    first_free_room = NO_ROOM;
}

void stacks_record(unsigned depth) {
    forget_all();
    stacks_depth = depth < DEEPEST_STACK ? depth : DEEPEST_STACK;
}

static int add_frame(void *context, void *argument) {
    Stack *stack = argument;
    uintptr_t frame = unwind_get_ip(context);
    if (!frame) return UNWIND_END;
    bool is_ours = stack->depth == 0 && own_start <= frame && frame < own_end;
    if (!is_ours) stack->frames[stack->depth++] = frame;
    return stack->depth < atomic_load(&stacks_depth) ? UNWIND_CONTINUE : UNWIND_END;
}

void stacks_capture(Stack *stack) {
    stack->depth = 0;
    unwind_backtrace(add_frame, stack);
}

bool stacks_prepare(void) {
    if (unwind_backtrace) return true;
    void *library = dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_LOCAL);
    void *scope = library ? library : RTLD_DEFAULT; /* libunwind of LLVM has the same names */
    unwind_get_ip = (UnwindGetIp)dlsym(scope, "_Unwind_GetIP");
    UnwindBacktrace found = (UnwindBacktrace)dlsym(scope, "_Unwind_Backtrace");
    if (!found || !unwind_get_ip) return false;
#ifdef __ELF__
    dl_iterate_phdr(find_own_object, NULL);
#endif
    unwind_backtrace = found;
    Stack first; /* at its first use it loads its tables: now, not inside an allocator */
    stacks_capture(&first);
    return true;
}

static bool grow_rooms(void) {
    uint64_t capacity = rooms_capacity ? rooms_capacity * 2 : SMALLEST_CAPACITY;
    size_t room_bytes = room_words() * sizeof(uintptr_t);
    uintptr_t *larger = pages_map(capacity * room_bytes);
    if (!larger) return false;
    if (rooms) {
        memcpy(larger, rooms, rooms_used * room_bytes);
        pages_unmap(rooms, rooms_capacity * room_bytes);
    }
    rooms = larger;
    rooms_capacity = capacity;
    return true;
}

/* A free room says in its first word which one is free next. */
static uint64_t take_room(void) {
    uint64_t number = first_free_room;
    if (number != NO_ROOM) {
        first_free_room = *room(number);
        return number;
    }
    if (rooms_used == rooms_capacity && !grow_rooms()) return NO_ROOM;
    return rooms_used++;
}

static void release_room(uint64_t number) {
    *room(number) = first_free_room;
    first_free_room = number;
}

void stacks_keep(uintptr_t address, const Stack *stack) {
    stacks_drop(address);
    uint64_t number = take_room(), previous;
    if (number == NO_ROOM) return;
    if (table_put(&rooms_by_address, address, number, &previous) == TABLE_NO_MEMORY) {
        release_room(number);
        return;
    }
    uint64_t depth = stack->depth < stacks_depth ? stack->depth : stacks_depth;
    *room(number) = depth;
    memcpy(room(number) + 1, stack->frames, depth * sizeof(uintptr_t));
}

void stacks_drop(uintptr_t address) {
    uint64_t number;
    if (table_used(&rooms_by_address) && table_remove(&rooms_by_address, address, &number))
        release_room(number);
}

size_t stacks_find(uintptr_t address, uintptr_t *frames, size_t most) {
    uint64_t number;
    if (!table_find(&rooms_by_address, address, &number)) return 0;
    size_t depth = *room(number) < most ? *room(number) : most;
    memcpy(frames, room(number) + 1, depth * sizeof(uintptr_t));
    return depth;
}
