"""Notices the children that a sanitizer build forks, and lets them check their memory at ``_exit``.

LeakSanitizer makes its check in ``exit`` alone, so a child that ends by ``_exit``, as those of
multiprocessing do, or by a signal leaves no log, and nobody knows that there was one. A library
that is loaded before the program notes each forked child in a file, and asks for the check where
the child calls ``_exit``. It is built here, by the compiler that whoever builds with sanitizers
has; without one, the run says that it may have missed a child.

It also lists the libraries of each program when it begins and whenever one is closed, in the words
of the loader's own log. That log (``LD_DEBUG=files``) tells the same, but what the loader calls to
write it leaves old pointers on the stack, for which LeakSanitizer takes what a constructor of the
program has lost for reachable.
"""

from __future__ import annotations

import os
import tempfile
from functools import lru_cache
from pathlib import Path

from pytest_leakguard.core.errors import LeakguardError
from pytest_leakguard.processes import supervisor
from pytest_leakguard.programs.canary import BUILD_TIMEOUT_S, find_versioned

PLACE = "LEAKGUARD_FORKS"
"""The variable that tells the library where its notes go."""
LIST = "LEAKGUARD_LIST"
"""The variable that tells it where its lists go; a dot and the process id follow."""
_OUTPUT = "forks.so"
NOTES = "fork"
"""Prefix of the notes, which the process id follows."""
MISSED = (
    "no C compiler here to build the library with that notices forked children: one that ended by "
    "_exit or a signal would leave no trace"
)
_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static char place[4096], list[4096];
static pid_t child;

/* Functions that a sanitizer intercepts are left alone: it may not have begun yet. */
static char *put(char *to, const char *text) {
    while (*text) *to++ = *text++;
    *to = 0;
    return to;
}

static char *put_number(char *to, unsigned long number, unsigned base) {
    char digits[24], *at = digits + sizeof digits - 1;
    *at = 0;
    do *--at = "0123456789abcdef"[number % base];
    while (number /= base);
    return put(to, at);
}

#define MOST_LISTED 4096
static ElfW(Addr) listed[MOST_LISTED];
static unsigned listed_count;

/* A line each for what is listed nowhere yet, as the loader writes them. */
static int list_object(struct dl_phdr_info *info, size_t size, void *file) {
    static char line[4096 + 128], program[4096]; /* the loader lets in one thread at a time */
    char *to = line;
    ElfW(Addr) end = 0;
    const char *name = info->dlpi_name;
    (void)size;
    if (name == NULL || *name == 0) { /* the program itself */
        long length = syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", program, 4095ul);
        program[length > 0 ? length : 0] = 0;
        name = program;
    }
    for (unsigned at = 0; at < listed_count; at++)
        if (listed[at] == info->dlpi_addr) return 0;
    if (listed_count == MOST_LISTED || strlen(name) >= 4096) return 0;
    listed[listed_count++] = info->dlpi_addr;
    for (int at = 0; at < info->dlpi_phnum; at++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[at];
        if (part->p_type == PT_LOAD && part->p_vaddr + part->p_memsz > end)
            end = part->p_vaddr + part->p_memsz;
    }
    to = put(put(put(to, "file="), name), " [0];  generating link map\n  base: 0x");
    to = put(put_number(to, info->dlpi_addr, 16), "   size: 0x");
    to = put(put_number(to, end, 16), "\n");
    syscall(SYS_write, *(int *)file, line, (size_t)(to - line));
    return 0;
}

static void list_objects(void) {
    static const char is_checked[] = "has a leak check\n";
    int is_first = listed_count == 0;
    if (!*list) return;
    int file = syscall(SYS_openat, AT_FDCWD, list, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0) return;
    dl_iterate_phdr(list_object, &file);
    if (is_first && dlsym(RTLD_DEFAULT, "__lsan_do_leak_check") != NULL)
        syscall(SYS_write, file, is_checked, sizeof is_checked - 1);
    syscall(SYS_close, file);
}

int dlclose(void *handle) {
    int (*next)(void *) = (int (*)(void *))dlsym(RTLD_NEXT, "dlclose");
    list_objects();
    return next ? next(handle) : -1;
}

static void note(void) {
    char name[sizeof place + 32];
    child = getpid();
    snprintf(name, sizeof name, "%s.%d", place, (int)child);
    /* no function that a sanitizer intercepts: not all of its locks outlive a fork */
    int file = syscall(SYS_openat, AT_FDCWD, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (file >= 0) syscall(SYS_close, file);
}

__attribute__((constructor)) static void begin(void) {
    const char *given = getenv("LEAKGUARD_FORKS");
    if (given == NULL || strlen(given) >= sizeof place) return;
    strcpy(place, given);
    pthread_atfork(NULL, NULL, note);
    given = getenv("LEAKGUARD_LIST");
    if (given == NULL || strlen(given) + 32 >= sizeof list) return;
    put_number(put(put(list, given), "."), getpid(), 10);
    list_objects();
}

static void check(void) {
    static int is_done;
    /* a child of vfork shares all memory with its parent, and has no check of its own */
    if (child == 0 || child != getpid() || is_done++) return;
    int (*run)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "__lsan_do_recoverable_leak_check");
    if (run != NULL) run();
}

void _exit(int status) {
    check();
    for (;;) syscall(SYS_exit_group, status);
}

void _Exit(int status) { _exit(status); }
"""


@lru_cache(maxsize=1)
def library() -> Path | None:
    """The library, built once in each run of ours; ``None`` where it cannot be."""
    folder = Path(_folder().name)
    source, output = folder / "forks.c", folder / _OUTPUT
    source.write_text(_SOURCE, encoding="utf-8")
    for name in ("cc", "gcc", "clang"):
        compiler = find_versioned(name)
        if compiler is None:
            continue
        argv = [compiler, "-O1", "-fPIC", "-shared", "-o", str(output), str(source), "-ldl"]
        try:
            code, _, _ = supervisor.capture([*argv, "-lpthread"], BUILD_TIMEOUT_S)
        except LeakguardError:
            continue
        if code == 0:
            return output
    return None


@lru_cache(maxsize=1)
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Removed when this process ends."""
    return tempfile.TemporaryDirectory(prefix="leakguard-forks-")


def with_library(env: dict[str, str]) -> dict[str, str]:
    """``env`` with the library loaded after all that is loaded before the program anyway."""
    path = library()
    if path is None:
        return env
    before = env.get("LD_PRELOAD", os.environ.get("LD_PRELOAD", ""))
    return {**env, "LD_PRELOAD": f"{before}:{path}" if before else str(path)}


def has_library(env: dict[str, str]) -> bool:
    """Whether ``with_library`` has put it into this environment."""
    return env.get("LD_PRELOAD", "").endswith(f"{os.sep}{_OUTPUT}")


def forked(workdir: Path) -> set[int]:
    """The forked children that the library has noted."""
    return {
        int(path.suffix[1:]) for path in workdir.glob(f"{NOTES}.*") if path.suffix[1:].isdecimal()
    }
