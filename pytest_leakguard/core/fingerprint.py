"""Names a leak so that the name outlives moved lines, other checkouts, ASLR and a change of tool.

A fingerprint is the first 16 hexadecimal digits of the SHA-256 of

* the word ``stack-v1``,
* the family of the leak: ``lost`` (definitely or indirectly), ``possible``, ``reachable``, or its
  kind (a block lost *through* another block of the same stack, as in a linked list, is
  ``lost-indirect``),
* the names of the calls, innermost first, at most eight of them.

The tools agree on names, not on stacks, so before that

* allocators and the tools' interceptors are left out, and all that lies below ``main`` or a
  thread's start;
* inside the C library only the function that was called stays (``strdup``, not ``__GI___strdup``),
  inside the C++ library only its last name (``push_back``, ``make_shared<Order>``): their inner
  calls change with versions and optimisation;
* return types, parameters and white space are left out, template arguments stay; of an inlined call
  only the last name stays, since valgrind knows no more of it;
* loops of calls are left out, since how deep a recursion was is chance: ``visit visit visit main``
  is ``visit main``;
* a call without symbols is its module and the place in its memory page (both survive ASLR, not a
  rebuild).

``stack-v2`` is the same with the frames of language runtimes and of header-only libraries left out
first (Rust's std, hashbrown, tokio, abseil, boost, Qt, folly, GoogleTest: see ``runtimes``), since
they fill the eight names before the program's own are reached. Where both give the same names the
fingerprint is that of ``stack-v1``. Lambdas have no number there either, and what lies below the
start of a ``std::thread`` is left out. Where the names differ the old fingerprint is told beside
the new one (``Finding.former``), and an entry that was accepted under it still counts.

No lines, files, addresses or sizes: two allocations in one function reached by one path have one
name, and their sum distinguishes them from what was accepted (see ``baseline``).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise

from pytest_leakguard.core.leaks import Finding, Frame, Leak, LeakKind
from pytest_leakguard.core.runtimes import is_library

ALGORITHM = "stack-v1"
FOLDED_ALGORITHM = "stack-v2"
MOST_NAMES = 8
"""Calls in a name. valgrind keeps 12 by default; eight remain without allocators and libraries."""

_ALLOCATORS = frozenset(
    "malloc calloc realloc reallocarray memalign posix_memalign aligned_alloc valloc pvalloc cfree "
    "free libc_malloc libc_calloc libc_realloc libc_memalign mi_malloc je_malloc tc_malloc".split()
)
_STARTS = frozenset(
    "_start (below main) start_thread clone clone3 __clone __clone3 thread_start "
    "__lsan_thread_start_func execute_native_thread_routine __libc_start_call_main "
    "__libc_start_main __libc_start_main_impl __libc_start_main@@GLIBC_2.34".split(" ")
) | {"(below main)"}
_SANITIZER_START = re.compile(
    r"^(void\s?\*\s?)?((a|hwa)san_thread_start|ThreadStartFunc<(true|false)>)(\(|$)"
)
"""A thread's start in newer runtimes (gcc 14, clang 19).

Clang's are linked into the program and told with types.
"""
_CXX_THREAD_START = re.compile(
    r"^(void\s?\*\s?)?std::(thread::_State_impl<|__\w+::__thread_proxy<)"
)
"""Where std::thread begins; what lies below is in a library that often has no symbols."""
_LAMBDA = re.compile(r"\{lambda\([^{}]*?\)#\d+\}|\$_\d+|'lambda\d*'(\([^()]*\))?")
"""A lambda as gcc, clang and LLVM's demangler call it; its number changes with its neighbours."""
_RUNTIME_MODULE = re.compile(r"^(vgpreload_|lib(clang_rt\.)?(asan|lsan|ubsan|hwasan))")
_C_MODULE = re.compile(
    r"^(libc|libc-2\.\d+|libpthread(-2\.\d+)?|libdl(-2\.\d+)?"
    r"|ld-linux.*|ld(-2\.\d+)?|ld-musl.*)\.so"
)
_CXX_MODULE = re.compile(r"^lib(std)?c\+\+")
_C_SOURCE = re.compile(
    r"^(\.\./sysdeps/|(\./|\.\./|\w+/\.\./|\w+/\./)?"
    r"(libio|string|stdlib|nptl|elf|dlfcn|csu|posix|misc|malloc|stdio-common|debug|time|locale"
    r"|iconv|intl|wcsmbs)/)"
)
_CXX_SOURCE = re.compile(
    r"/include/c\+\+/|/libstdc\+\+-v3/|^\.\./\.\./\.\./\.\./(src/)?libstdc\+\+"
)
LONGEST_NAME = 8192
"""Characters read of a function name; bounds the time that a damaged report can take."""
_PAGE_MASK = 0xFFF
"""The place in a memory page of 4 KiB, which address randomisation never moves."""
_OPERATOR = re.compile(r"(?<!\w)operator(?!\w)")
_CLONE = re.compile(r"(\.(part|constprop|isra|cold|lto_priv|llvm)(\.\d+)*| \[clone [^]]*\])+$")
_VERSION = re.compile(r"@@?[\w.]+$")


def of_leak(leak: Leak, hangs_on_its_like: bool = False) -> str:
    """The fingerprint of one leak by ``stack-v1``.

    ``hangs_on_its_like`` says that a lost block of the same stack leads to it.
    """
    return of_names(_family(leak.kind, hangs_on_its_like), names(leak.stack))


def folded(leak: Leak, hangs_on_its_like: bool = False) -> str:
    """The fingerprint of one leak by ``stack-v2``; that of ``stack-v1`` where nothing is folded."""
    own = own_names(leak.stack)
    algorithm = ALGORITHM if own == names(leak.stack) else FOLDED_ALGORITHM
    return of_names(_family(leak.kind, hangs_on_its_like), own, algorithm)


def of_names(family: str, called: Iterable[str], algorithm: str = ALGORITHM) -> str:
    """The digest itself: 16 lower-case hexadecimal digits."""
    text = "\n".join([algorithm, family, *called])
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def is_nameless(fingerprint: str) -> bool:
    """Whether this is the one name of all leaks of a kind that no call is known of.

    Whoever accepted it would accept every later leak without a stack.
    """
    return fingerprint in _nameless()


@lru_cache(maxsize=1)
def _nameless() -> frozenset[str]:
    families = {_family(kind, hangs) for kind in LeakKind for hangs in (False, True)}
    nobody = names(())
    return frozenset(
        of_names(family, nobody, algorithm)
        for family in families
        for algorithm in (ALGORITHM, FOLDED_ALGORITHM)
    )


def _family(kind: LeakKind, hangs_on_its_like: bool) -> str:
    match kind:
        case LeakKind.DEFINITELY_LOST:
            return "lost"
        case LeakKind.INDIRECTLY_LOST:
            return "lost-indirect" if hangs_on_its_like else "lost"
        case LeakKind.POSSIBLY_LOST:
            return "possible"
        case LeakKind.STILL_REACHABLE:
            return "reachable"
        case _:
            return kind.value


def group(leaks: Iterable[Leak]) -> tuple[Finding, ...]:
    """One finding per fingerprint, sizes summed, largest first; ties keep the order of names."""
    leaks = tuple(leaks)
    lost = [leak.stack for leak in leaks if leak.kind is LeakKind.DEFINITELY_LOST]
    roots, old_roots = set(map(own_names, lost)), set(map(names, lost))
    found: dict[str, list[Leak]] = {}
    formers: dict[str, dict[str, None]] = {}
    for leak in leaks:
        is_indirect = leak.kind is LeakKind.INDIRECTLY_LOST
        fingerprint = folded(leak, is_indirect and own_names(leak.stack) in roots)
        former = of_leak(leak, is_indirect and names(leak.stack) in old_roots)
        found.setdefault(fingerprint, []).append(leak)
        if former != fingerprint:
            formers.setdefault(fingerprint, {})[former] = None
    findings = [
        _finding(fingerprint, same, tuple(formers.get(fingerprint, ())))
        for fingerprint, same in found.items()
    ]
    return tuple(sorted(findings, key=lambda finding: (-finding.size_bytes, finding.fingerprint)))


def _finding(fingerprint: str, same: list[Leak], former: tuple[str, ...]) -> Finding:
    largest = max(same, key=lambda leak: leak.size_bytes)
    places = {_site(leak.stack) for leak in same} - {""}
    return Finding(
        fingerprint=fingerprint,
        kind=largest.kind,
        size_bytes=sum(leak.size_bytes for leak in same),
        blocks=sum(leak.blocks for leak in same),
        stack=largest.stack,
        holders=largest.holders,
        sites=tuple(sorted(places)),
        former=former,
    )


def _site(stack: tuple[Frame, ...]) -> str:
    frame = innermost_own(stack)
    return f"{frame.file}:{frame.line}" if frame and frame.file and frame.line else ""


def innermost_own(stack: tuple[Frame, ...]) -> Frame | None:
    """The call a reader should look at: the innermost outside allocators, runtimes and libraries.

    One with a source line is preferred; ``None`` only for an empty stack.
    """
    inside = own_calls(stack)
    own = []
    for frame in inside:
        is_c, is_cxx, _ = _role(frame)
        if not is_c and not is_cxx:
            own.append(frame)
    with_source = [frame for frame in own if frame.function and frame.line]
    return next(iter((*with_source, *own, *inside, *stack)), None)


def callers(stack: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """The calls that led to ``innermost_own``, without what lies below ``main``."""
    inside = own_calls(stack)
    frame = innermost_own(stack)
    return inside[inside.index(frame) + 1 :] if frame in inside else ()


@lru_cache(maxsize=65536)
def names(stack: tuple[Frame, ...]) -> tuple[str, ...]:
    """The calls of a stack as ``stack-v1`` sees them, innermost first."""
    return _names(calls(stack))


@lru_cache(maxsize=65536)
def own_names(stack: tuple[Frame, ...]) -> tuple[str, ...]:
    """The calls of a stack as ``stack-v2`` sees them, innermost first."""
    return tuple(_LAMBDA.sub("{lambda}", name) for name in _names(own_calls(stack)))


def own_calls(stack: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """``calls`` without those of runtimes and header-only libraries, unless nothing else is left.

    The ``main`` that rustc makes for a program is nothing of the user's.
    """
    inside = calls(stack)
    for index, frame in enumerate(inside):
        if index and _CXX_THREAD_START.match(frame.function or ""):
            inside = inside[:index]
            break
    own = tuple(frame for frame in inside if not is_library(frame))
    has_name = any(frame.function or frame.module for frame in own)
    is_entry_alone = len(own) == 1 and own[0].function == "main" and len(inside) > 1
    if not has_name or (is_entry_alone and any(map(_starts_rust, inside))):
        return inside
    return own


def _starts_rust(frame: Frame) -> bool:
    return (frame.function or "").startswith("std::rt::lang_start")


def _names(inside: tuple[Frame, ...]) -> tuple[str, ...]:
    called: list[str] = []
    for name in _collapsed(inside):
        if name in called:  # a loop of calls: take the way that leaves it out
            del called[called.index(name) :]
        called.append(name)
    while called and called[-1] == "?":
        called.pop()
    return tuple(called[:MOST_NAMES]) or ("?",)


def calls(stack: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """The stack without allocators at its inner end, and without what lies below ``main``."""
    first = 0
    while first < len(stack) and _is_allocator(stack[first]):
        first += 1
    last = len(stack)
    for index in range(first, len(stack)):
        function = stack[index].function or ""
        if function in _STARTS or _SANITIZER_START.match(function):
            last = index
            break
        if function == "main":
            last = index + 1
            break
    return stack[first:last]


def _is_allocator(frame: Frame) -> bool:
    function = frame.function or ""
    if function.startswith(("operator new", "operator delete")):
        return True
    if public_name(function) in _ALLOCATORS:
        return True
    return is_runtime(frame) and not function.startswith("__interceptor_")


def _collapsed(stack: tuple[Frame, ...]) -> Iterator[str]:
    """Runs of calls inside one system library become the call that entered it."""
    roles = [_role(frame) for frame in stack]
    for (is_c, is_cxx, name), (is_outer_c, is_outer_cxx, _) in pairwise([*roles, _NOBODY]):
        if not (is_c and is_outer_c) and not (is_cxx and not is_c and is_outer_cxx):
            yield name


_NOBODY = (False, False, "")


@lru_cache(maxsize=65536)
def _role(frame: Frame) -> tuple[bool, bool, str]:
    """Whether the C or the C++ library runs there, and what the call is named.

    Kept, since most frames of a report recur.
    """
    is_c, is_cxx = is_c_library(frame) or is_runtime(frame), is_cxx_library(frame)
    if is_c:
        return is_c, is_cxx, public_name(frame.function or "libc")
    if is_cxx:
        function = frame.function or "?"
        name = short_name(function) if frame.is_inlined else last_name(function)
        return is_c, is_cxx, f"std::{name}"
    return is_c, is_cxx, _own_name(frame)


def _own_name(frame: Frame) -> str:
    if frame.function is None:
        if frame.module is None:
            return "?"
        place = frame.address if frame.offset is None else frame.offset
        return f"{_library(frame.module)}+{place & _PAGE_MASK:03x}"
    if frame.file and frame.file.endswith(".py"):
        return f"{frame.file.rpartition('/')[2]}:{frame.function}"
    return short_name(frame.function) if frame.is_inlined else qualified_name(frame.function)


def is_runtime(frame: Frame) -> bool:
    """Code of the tool itself: valgrind's preloaded allocator, a sanitizer's runtime."""
    function = frame.function or ""
    return bool(_RUNTIME_MODULE.match(_base(frame.module))) or function.startswith("__interceptor_")


def is_c_library(frame: Frame) -> bool:
    """Code of the C library or the dynamic loader."""
    if frame.module is not None:
        return bool(_C_MODULE.match(_base(frame.module)))
    if frame.file and _C_SOURCE.match(frame.file):
        return True
    return (frame.function or "").startswith("_IO_")


def is_cxx_library(frame: Frame) -> bool:
    """Code of the C++ library, also where its templates were compiled into the program."""
    if frame.module is not None and _CXX_MODULE.match(_base(frame.module)):
        return True
    function = frame.function or ""
    if frame.file and _CXX_SOURCE.search(frame.file):
        return True
    # The test for "::" comes first: most names have none, and parsing takes far longer.
    return "::" in function and qualified_name(function).startswith(("std::", "__gnu_cxx::"))


def _base(module: str | None) -> str:
    return module.rpartition("/")[2] if module else ""


def _library(module: str) -> str:
    """``/usr/lib/libcrypto.so.3`` and ``libcrypto.so.1.1`` are the same library."""
    return re.sub(r"\.so[.\d]*$", ".so", _base(module))


def public_name(function: str) -> str:
    """The name by which a C library function is called, whatever alias the symbol table prefers."""
    name = _VERSION.sub("", _CLONE.sub("", function[:LONGEST_NAME]))
    for prefix in ("__interceptor_trampoline_", "__interceptor_", "___interceptor_", "__GI_"):
        name = name.removeprefix(prefix)
    name = name.lstrip("_")
    for prefix in ("IO_new_", "IO_", "new_", "GI_"):
        name = name.removeprefix(prefix)
    return name.lstrip("_").removesuffix("_chk").removesuffix("_internal")


def short_name(function: str) -> str:
    """The last name alone: ``push_back`` of ``std::vector<int>::push_back(int&&)``."""
    name = last_name(function)
    return name if name.startswith("operator") else name.partition("<")[0] or name


def last_name(function: str) -> str:
    """The last name with its own template arguments.

    ``make_shared<Order>`` of ``std::make_shared<Order>()``.
    """
    name = _CLONE.sub("", function[:LONGEST_NAME])
    if operator := _OPERATOR.search(name):
        return name[operator.start() :].replace(" ", "")
    name = qualified_name(function)
    depth, start = 0, 0
    for index, char in enumerate(name):
        depth += (char in "<({") - (char in ">)}")
        if char == ":" and depth == 0:
            start = index + 1
    return name[start:]


@lru_cache(maxsize=65536)
def qualified_name(function: str) -> str:
    """Without return type, parameters, clone suffixes and white space; template arguments stay."""
    name = _CLONE.sub("", function[:LONGEST_NAME])
    if not any(char in name for char in "(<: "):
        return _VERSION.sub("", name)
    if _OPERATOR.search(name):
        # "operator()(int)", "operator bool()", "operator<": no rule fits them all.
        return name.replace(" ", "")
    return without_types(name).replace(" ", "")


def without_types(name: str) -> str:
    """``int* make<int>(int) const`` becomes ``make<int>``; white space inside stays."""
    depth, start, end = 0, 0, len(name)
    for index, char in enumerate(name):
        is_namespace = name.startswith(("(anonymous", "({"), index)
        if char == "(" and depth == 0 and index > start and not is_namespace:
            end = index
            if not name.startswith("::", _closing(name, index) + 1):
                break  # otherwise these are the parameters of an enclosing function
            end = len(name)
        if char == " " and depth == 0:
            start = index + 1
        depth += (char in "<({") - (char in ">)}")
    return name[start:end]


def _closing(name: str, opening: int) -> int:
    depth = 0
    for index in range(opening, len(name)):
        depth += (name[index] == "(") - (name[index] == ")")
        if depth == 0:
            return index
    return len(name) - 1
