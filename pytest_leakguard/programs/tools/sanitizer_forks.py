"""Notices the children that a sanitizer build forks, and lets them check their memory at ``_exit``.

LeakSanitizer makes its check in ``exit`` alone, so a child that ends by ``_exit``, as those of
multiprocessing do, or by a signal leaves no log, and nobody knows that there was one. A library
that is loaded before the program notes each forked child in a file, and asks for the check where
the child calls ``_exit``. It is built here, by the compiler that whoever builds with sanitizers
has; without one, the run says that it may have missed a child.
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
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static char place[4096];
static pid_t child;

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
    source, output = folder / "forks.c", folder / "forks.so"
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


def forked(workdir: Path) -> set[int]:
    """The forked children that the library has noted."""
    return {
        int(path.suffix[1:]) for path in workdir.glob(f"{NOTES}.*") if path.suffix[1:].isdecimal()
    }
