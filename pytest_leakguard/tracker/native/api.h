/* What the binding calls. Change API_VERSION whenever a function or a struct here changes. */
#ifndef LEAKGUARD_API_H
#define LEAKGUARD_API_H

#include "audit.h"
#include "containers.h"
#include "core.h"
#include "block_roots.h"
#include "lost_blocks.h"
#include "native_hooks.h"
#include "owners.h"

#if defined(__GNUC__)
#define API __attribute__((visibility("default")))
#else
#define API
#endif

#define API_VERSION 7

API int tracker_api_version(void);

/* 1: done. 0: there is no Python in this process. */
API int tracker_install_python(void);
/* 1: Python's blocks are seen. Call it while armed, with the GIL. */
API int tracker_sees_python(void);
/* Sees them again, and forgets everything; not while armed. */
API void tracker_repair_python(void);
/* A NativeState. */
API int tracker_install_native(void);
API void tracker_uninstall_native(void);
API int tracker_native_state(void);
API uint64_t tracker_slots_replaced(void);
API uint64_t tracker_slots_foreign(void);

/* Blocks allocated from now on belong to the run, 1 to 4,194,303; this thread is its own thread.
   1: armed. 0: no such run, no memory, or a forked child that was not reset. */
API int tracker_arm(uint32_t run);
API void tracker_disarm(void);
/* A new reference to one of these as a builtin function of Python's; see python_methods.h. */
API void *tracker_method(const char *name);

/* Totals of `count` runs from `first` on; zeros for runs that never were. */
API void tracker_totals(uint32_t first, uint32_t count, RunTotals *totals);
/* 1: no block of a run is alive, and none of another run has grown in it. */
API int tracker_keeps_nothing(uint32_t run);
/* At most `most` survivors of a run, in no order. Returns how many. */
API uint64_t tracker_survivors(uint32_t run, Survivor *survivors, uint64_t most);
/* The same, only blocks of Python's that have this word so many bytes from their start. */
API uint64_t tracker_survivors_with(uint32_t run, uint64_t offset, uint64_t word,
                                    Survivor *survivors, uint64_t most);
/* Those of some survivors that may be tables of older containers; see containers.h. */
API uint64_t tracker_tables(const Survivor *survivors, uint64_t count, uint64_t *tables,
                            uint64_t *dicts);
/* 1 when the address is the start of a live block, or within a live mapping. */
API int tracker_find(uint64_t address, Survivor *survivor);

/* What is alive of the runs first..last belongs to run `to` from now on. */
API void tracker_move_runs(uint32_t first, uint32_t last, uint32_t to);
API void tracker_forget_runs(uint32_t first, uint32_t last);
/* Forgets everything. In a forked child: makes it usable. */
API void tracker_reset(void);

/* Live blocks and mappings that are tracked; those lost for want of memory; memory taken. */
API uint64_t tracker_used(void);
API uint64_t tracker_lost(void);
API uint64_t tracker_size_bytes(void);
API int tracker_is_child(void);

/* Frames to keep of each native allocation; 0: none, forget all. 1: done. */
API int tracker_record_stacks(uint32_t depth);
API uint32_t tracker_stack_of(uint64_t address, uintptr_t *frames, uint32_t most);
/* Which of these objects has which of these blocks: an index each, or NO_OWNER. */
API void tracker_owners(const uintptr_t *objects, uint64_t object_count, const uintptr_t *blocks,
                        uint64_t block_count, const ObjectLayout *layout, uint64_t *owners);
/* Where an instruction is. 1: found. `symbol` NULL: the object has no name for it. */
API int tracker_locate(uintptr_t address, const char **file, uintptr_t *base, const char **symbol,
                       uintptr_t *symbol_address);

/* See audit.h; with the GIL. 1: done. */
API int tracker_hear(void *listener);
API int tracker_ask_for(const char *event);

/* Of another process; see block_roots.h. */
API int tracker_block_roots(int pid, uint64_t cells_root, const uint64_t *asked, size_t asked_count,
                            const RootRange *ranges, size_t count, BlockRoot *roots, size_t most);
/* Of another process; see lost_blocks.h. */
API int tracker_lost_blocks(int pid, uint64_t cells_root, uint32_t first, uint32_t last,
                            uint64_t most_bytes, LostBlocks *found);

#endif
