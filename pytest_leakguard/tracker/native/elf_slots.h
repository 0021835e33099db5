/* The slots through which loaded objects call functions by name: read and replaced.
   ELF with RELA relocations on x86-64 and aarch64; nothing here knows what the functions do. */
#ifndef LEAKGUARD_ELF_SLOTS_H
#define LEAKGUARD_ELF_SLOTS_H

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__))
#define HAS_ELF_SLOTS 1

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *name;
    /* What is called instead. */
    void *replacement;
    /* Where the function that is replaced is kept; *original NULL: this name stays as it is. */
    void **original;
    /* Maps memory: an object with an allocator of its own keeps it. */
    bool is_mapping;
} Replacement;

typedef struct {
    /* Slots replaced since the beginning. */
    size_t replaced;
    /* Slots seen that hold somebody else's function (memray's, a bound copy of an allocator). */
    size_t foreign;
    /* Slots whose page could not be made writable. */
    size_t refused;
} SlotCounts;

/* The definition that the program uses: of the first object in load order that has one. */
void *elf_find_definition(const char *name);
/* Where an object is loaded. */
typedef struct {
    uintptr_t low, high;
} LoadedRange;

/* Of the object that defines a name; {0, 0} where none does. */
LoadedRange elf_range_of(const char *name);
/* True where one object defines both names. */
bool elf_is_defined_together(const char *name, const char *other);
/* Replaces in every object that was loaded since the last call; in all of them when `all`. */
void elf_replace(const Replacement *replacements, size_t count, bool all);
/* Puts the originals back everywhere. */
void elf_restore(const Replacement *replacements, size_t count);
/* True where objects were loaded since the last elf_replace. Cheap. */
bool elf_has_new_objects(void);
SlotCounts elf_slot_counts(void);
/* A slot of an object that is never unloaded; NULL before the first elf_replace. */
void *const *elf_sample_slot(void);

#endif
#endif
