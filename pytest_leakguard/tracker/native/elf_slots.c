#define _GNU_SOURCE
#include "elf_slots.h"

#ifdef HAS_ELF_SLOTS

#include <link.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lock.h"
#include "table.h"

#if defined(__x86_64__)
#define RELOCATION_JUMP_SLOT R_X86_64_JUMP_SLOT
#define RELOCATION_GLOB_DAT R_X86_64_GLOB_DAT
#define RELOCATION_ABSOLUTE R_X86_64_64
#else
#define RELOCATION_JUMP_SLOT R_AARCH64_JUMP_SLOT
#define RELOCATION_GLOB_DAT R_AARCH64_GLOB_DAT
#define RELOCATION_ABSOLUTE R_AARCH64_ABS64
#endif

#define BITS_PER_BLOOM_WORD 64

/* A loaded object as its dynamic section describes it. */
typedef struct {
    uintptr_t base, low, high;
    uintptr_t relro_start, relro_end;
    uintptr_t dynamic;
    const ElfW(Sym) *symbols;
    const char *strings;
    const ElfW(Rela) *plt_relocations, *relocations;
    size_t plt_count, count;
    const uint32_t *gnu_hash, *sysv_hash;
    bool is_symbolic; /* its references go to its own definitions first */
} Object;

typedef struct {
    const Replacement *items;
    size_t count;
    bool is_restoring;
    /* First letters of the names: most symbols are passed over by one look. */
    bool has_initial[256];
} Job;

static Lock walk_lock;
static Table done_objects; /* by dynamic section */
static SlotCounts counts;
static void **sample_slot;
static _Atomic uint64_t loads_at_walk, unloads_at_walk;

static uintptr_t page_start(uintptr_t address) {
    return address & ~((uintptr_t)getpagesize() - 1);
}

/* glibc writes addresses into the dynamic section, musl leaves offsets. */
static uintptr_t pointer_in(const Object *object, ElfW(Addr) value) {
    return value < object->base ? object->base + value : value;
}

static void read_dynamic_entry(Object *object, const ElfW(Dyn) *entry) {
    uintptr_t pointer = pointer_in(object, entry->d_un.d_ptr);
    switch (entry->d_tag) {
    case DT_SYMTAB: object->symbols = (const void *)pointer; break;
    case DT_STRTAB: object->strings = (const void *)pointer; break;
    case DT_JMPREL: object->plt_relocations = (const void *)pointer; break;
    case DT_PLTRELSZ: object->plt_count = entry->d_un.d_val / sizeof(ElfW(Rela)); break;
    case DT_RELA: object->relocations = (const void *)pointer; break;
    case DT_RELASZ: object->count = entry->d_un.d_val / sizeof(ElfW(Rela)); break;
    case DT_GNU_HASH: object->gnu_hash = (const void *)pointer; break;
    case DT_HASH: object->sysv_hash = (const void *)pointer; break;
    case DT_SYMBOLIC: object->is_symbolic = true; break;
    case DT_FLAGS: object->is_symbolic |= (entry->d_un.d_val & DF_SYMBOLIC) != 0; break;
    }
}

static void read_segments(Object *object, const struct dl_phdr_info *info) {
    object->low = UINTPTR_MAX;
    for (int at = 0; at < info->dlpi_phnum; at++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[at];
        uintptr_t start = info->dlpi_addr + segment->p_vaddr;
        uintptr_t end = start + segment->p_memsz;
        if (segment->p_type == PT_LOAD) {
            if (start < object->low) object->low = start;
            if (end > object->high) object->high = end;
        } else if (segment->p_type == PT_GNU_RELRO) {
            object->relro_start = page_start(start);
            object->relro_end = page_start(end);
        } else if (segment->p_type == PT_DYNAMIC) {
            object->dynamic = start;
        }
    }
}

static bool contains(const Object *object, const void *address) {
    return object->low <= (uintptr_t)address && (uintptr_t)address < object->high;
}

static bool is_loader(const struct dl_phdr_info *info) {
    uintptr_t loader = getauxval(AT_BASE); /* 0 where the loader was started as the program */
    return (loader && info->dlpi_addr == loader) || strstr(info->dlpi_name, "/ld-linux") ||
           strstr(info->dlpi_name, "/ld-musl");
}

static bool is_vdso(const struct dl_phdr_info *info) {
    for (int at = 0; at < info->dlpi_phnum; at++)
        if (info->dlpi_phdr[at].p_type == PT_LOAD)
            return info->dlpi_addr + info->dlpi_phdr[at].p_vaddr == getauxval(AT_SYSINFO_EHDR);
    return true; /* nothing is loaded of it */
}

/* False for what has no symbols, and for our own library. */
static bool read_object(Object *object, const struct dl_phdr_info *info) {
    *object = (Object){.base = info->dlpi_addr};
    if (is_vdso(info)) return false;
    read_segments(object, info);
    if (!object->dynamic || contains(object, &walk_lock)) return false;
    for (const ElfW(Dyn) *entry = (const void *)object->dynamic; entry->d_tag != DT_NULL; entry++)
        read_dynamic_entry(object, entry);
    return object->symbols && object->strings;
}

static uint32_t gnu_hash_of(const char *name) {
    uint32_t hash = 5381;
    for (; *name; name++) hash = hash * 33 + (unsigned char)*name;
    return hash;
}

static uint32_t sysv_hash_of(const char *name) {
    uint32_t hash = 0;
    for (; *name; name++) {
        hash = (hash << 4) + (unsigned char)*name;
        uint32_t top = hash & 0xf0000000;
        hash = (hash ^ (top >> 24)) & ~top;
    }
    return hash;
}

static const ElfW(Sym) *defined(const Object *object, uint32_t index, const char *name) {
    const ElfW(Sym) *symbol = &object->symbols[index];
    bool is_defined = symbol->st_shndx != SHN_UNDEF && symbol->st_value != 0;
    bool is_name = is_defined && strcmp(object->strings + symbol->st_name, name) == 0;
    return is_name ? symbol : NULL;
}

static const ElfW(Sym) *find_by_gnu_hash(const Object *object, const char *name) {
    const uint32_t *header = object->gnu_hash;
    uint32_t bucket_count = header[0], first = header[1], bloom_words = header[2];
    const uint64_t *bloom = (const uint64_t *)(header + 4);
    const uint32_t *buckets = (const uint32_t *)(bloom + bloom_words);
    const uint32_t *chains = buckets + bucket_count;
    uint32_t hash = gnu_hash_of(name);
    if (!bucket_count || !bloom_words) return NULL;
    uint64_t word = bloom[hash / BITS_PER_BLOOM_WORD % bloom_words];
    if (!(word >> hash % BITS_PER_BLOOM_WORD & 1)) return NULL;
    uint32_t index = buckets[hash % bucket_count];
    if (index < first) return NULL;
    for (;; index++) {
        uint32_t other = chains[index - first];
        const ElfW(Sym) *symbol = (other | 1) == (hash | 1) ? defined(object, index, name) : NULL;
        if (symbol) return symbol;
        if (other & 1) return NULL; /* the end of the chain */
    }
}

static const ElfW(Sym) *find_by_sysv_hash(const Object *object, const char *name) {
    const uint32_t *header = object->sysv_hash;
    uint32_t bucket_count = header[0];
    const uint32_t *buckets = header + 2, *chains = buckets + bucket_count;
    if (!bucket_count) return NULL;
    for (uint32_t index = buckets[sysv_hash_of(name) % bucket_count]; index; index = chains[index]) {
        const ElfW(Sym) *symbol = defined(object, index, name);
        if (symbol) return symbol;
    }
    return NULL;
}

static void *definition_in(const Object *object, const char *name) {
    const ElfW(Sym) *symbol = NULL;
    if (object->gnu_hash)
        symbol = find_by_gnu_hash(object, name);
    else if (object->sysv_hash)
        symbol = find_by_sysv_hash(object, name);
    bool is_function = symbol && ELF64_ST_TYPE(symbol->st_info) == STT_FUNC;
    return is_function ? (void *)(object->base + symbol->st_value) : NULL;
}

typedef struct {
    const char *name, *other;
    void *found;
    LoadedRange range;
    bool is_together;
} Search;

static int search_object(struct dl_phdr_info *info, size_t size, void *argument) {
    (void)size;
    Search *search = argument;
    Object object;
    if (!read_object(&object, info)) return 0;
    search->found = definition_in(&object, search->name);
    if (!search->found) return 0;
    search->range = (LoadedRange){object.low, object.high};
    search->is_together = search->other && definition_in(&object, search->other);
    return 1;
}

void *elf_find_definition(const char *name) {
    Search search = {.name = name};
    dl_iterate_phdr(search_object, &search);
    return search.found;
}

LoadedRange elf_range_of(const char *name) {
    Search search = {.name = name};
    dl_iterate_phdr(search_object, &search);
    return search.range;
}

bool elf_is_defined_together(const char *name, const char *other) {
    Search search = {.name = name, .other = other};
    dl_iterate_phdr(search_object, &search);
    return search.is_together;
}

/* ---- replacing */

typedef struct {
    const Object *object;
    const Job *job;
    bool is_allocator; /* has malloc of its own and is not the C library */
    bool is_unlocked;
} Walk;

static const Replacement *replacement_for(const Job *job, const char *name) {
    if (!job->has_initial[(unsigned char)name[0]]) return NULL;
    for (size_t at = 0; at < job->count; at++)
        if (strcmp(job->items[at].name, name) == 0) return &job->items[at];
    return NULL;
}

/* A slot that nobody has called through yet leads to a stub of its own object. One that leads to
   the object's own definition is bound: its blocks belong to another allocator than ours. */
static bool is_unbound(const Object *object, const ElfW(Sym) *symbol, const void *value) {
    if (!contains(object, value)) return false;
    if (symbol->st_shndx == SHN_UNDEF) return true;
    return !object->is_symbolic && (uintptr_t)value != object->base + symbol->st_value;
}

static bool make_writable(Walk *walk, uintptr_t slot) {
    const Object *object = walk->object;
    if (slot < object->relro_start || slot >= object->relro_end || walk->is_unlocked) return true;
    size_t size_bytes = object->relro_end - object->relro_start;
    int failed = mprotect((void *)object->relro_start, size_bytes, PROT_READ | PROT_WRITE);
    walk->is_unlocked = !failed;
    return !failed;
}

/* As the loader left it after its own relocations. */
static void protect_again(const Walk *walk) {
    const Object *object = walk->object;
    size_t size_bytes = object->relro_end - object->relro_start;
    if (walk->is_unlocked) mprotect((void *)object->relro_start, size_bytes, PROT_READ);
}

static void write_slot(Walk *walk, void **slot, void *value) {
    if (!make_writable(walk, (uintptr_t)slot)) {
        counts.refused++;
        return;
    }
    __atomic_store_n(slot, value, __ATOMIC_RELEASE);
    if (!walk->job->is_restoring) counts.replaced++;
}

/* Whatever else takes the slots over (memray) has these two replaced, but perhaps no others. */
static bool is_of_every_tool(const Replacement *item) {
    return strcmp(item->name, "malloc") == 0 || strcmp(item->name, "free") == 0;
}

static void visit_slot(Walk *walk, void **slot, const ElfW(Sym) *symbol, bool is_call) {
    const Replacement *item = replacement_for(walk->job, walk->object->strings + symbol->st_name);
    if (!item || !*item->original || (walk->is_allocator && item->is_mapping)) return;
    void *value = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
    if (walk->job->is_restoring) {
        if (value == item->replacement) write_slot(walk, slot, *item->original);
        return;
    }
    if (value == item->replacement) return;
    bool is_ours = value == *item->original;
    if (is_ours || (is_call && is_unbound(walk->object, symbol, value))) {
        write_slot(walk, slot, item->replacement);
        if (!sample_slot && is_of_every_tool(item)) sample_slot = slot;
    } else if (value && !contains(walk->object, value)) {
        counts.foreign++;
    }
}

static void visit_relocations(Walk *walk, const ElfW(Rela) *relocations, size_t count) {
    for (size_t at = 0; relocations && at < count; at++) {
        const ElfW(Rela) *relocation = &relocations[at];
        unsigned type = (unsigned)ELF64_R_TYPE(relocation->r_info);
        bool is_call = type == RELOCATION_JUMP_SLOT;
        bool is_pointer = type == RELOCATION_GLOB_DAT || type == RELOCATION_ABSOLUTE;
        if (!is_call && !(is_pointer && relocation->r_addend == 0)) continue;
        const ElfW(Sym) *symbol = &walk->object->symbols[ELF64_R_SYM(relocation->r_info)];
        void **slot = (void **)(walk->object->base + relocation->r_offset);
        visit_slot(walk, slot, symbol, is_call);
    }
}

static int visit_object(struct dl_phdr_info *info, size_t size, void *argument) {
    (void)size;
    Object object;
    uint64_t previous;
    const Job *job = argument;
    atomic_store(&loads_at_walk, info->dlpi_adds);
    atomic_store(&unloads_at_walk, info->dlpi_subs);
    if (is_loader(info) || !read_object(&object, info)) return 0;
    bool is_done = table_find(&done_objects, object.dynamic, &previous);
    if (is_done && !job->is_restoring) return 0;
    Walk walk = {.object = &object, .job = job};
    walk.is_allocator = definition_in(&object, "malloc") && !definition_in(&object, "strdup");
    visit_relocations(&walk, object.plt_relocations, object.plt_count);
    visit_relocations(&walk, object.relocations, object.count);
    protect_again(&walk);
    table_put(&done_objects, object.dynamic, 0, &previous);
    return 0;
}

static int read_loads(struct dl_phdr_info *info, size_t size, void *argument) {
    (void)size;
    uint64_t *numbers = argument;
    numbers[0] = info->dlpi_adds;
    numbers[1] = info->dlpi_subs;
    return 1;
}

static void walk_all(const Replacement *items, size_t count, bool all, bool is_restoring) {
    Job job = {.items = items, .count = count, .is_restoring = is_restoring};
    for (size_t at = 0; at < count; at++)
        if (*items[at].original) job.has_initial[(unsigned char)items[at].name[0]] = true;
    uint64_t loads[2] = {0, 0};
    dl_iterate_phdr(read_loads, loads);
    LockWay way = lock_take(&walk_lock, LOCK_WITHOUT_OWNER);
    /* Another object may now be where an unloaded one was. */
    if (all || loads[1] != atomic_load(&unloads_at_walk)) {
        table_clear(&done_objects);
        counts.foreign = counts.refused = 0;
    }
    dl_iterate_phdr(visit_object, &job);
    lock_release(&walk_lock, way);
}

void elf_replace(const Replacement *replacements, size_t count, bool all) {
    walk_all(replacements, count, all, false);
}

void elf_restore(const Replacement *replacements, size_t count) {
    walk_all(replacements, count, true, true);
    LockWay way = lock_take(&walk_lock, LOCK_WITHOUT_OWNER);
    table_clear(&done_objects);
    counts = (SlotCounts){0};
    lock_release(&walk_lock, way);
}

bool elf_has_new_objects(void) {
    uint64_t loads[2] = {0, 0};
    dl_iterate_phdr(read_loads, loads);
    return loads[0] != atomic_load(&loads_at_walk);
}

SlotCounts elf_slot_counts(void) { return counts; }

void *const *elf_sample_slot(void) { return sample_slot; }

#else
typedef int elf_slots_are_not_used_here;
#endif
