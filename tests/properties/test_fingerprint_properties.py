"""Names of leaks: blind to what changes by itself, sharp where the code is another."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_leakguard.core import fingerprint
from pytest_leakguard.core.leaks import Frame, Leak, LeakKind
from pytest_leakguard.programs.tools.base import mark_inlined

identifiers = st.sampled_from(
    [f"{first}{rest}" for first in ("push", "a::b", "Tree::x") for rest in range(20)]
)
paths = st.lists(identifiers, unique=True, min_size=1, max_size=14)
lines = st.integers(1, 10_000)
pages = st.integers(1, 2**30)
kinds = st.sampled_from(
    [LeakKind.DEFINITELY_LOST, LeakKind.POSSIBLY_LOST, LeakKind.STILL_REACHABLE]
)
wild_text = st.text(max_size=40)
wild_frames = st.builds(
    Frame,
    function=st.none() | wild_text,
    file=st.none() | wild_text,
    line=st.none() | st.integers(),
    module=st.none() | wild_text,
    address=st.integers(0, 2**64),
    offset=st.none() | st.integers(0, 2**64),
    is_inlined=st.booleans(),
)
ALLOCATOR = Frame("malloc", module="/usr/libexec/valgrind/vgpreload_memcheck-amd64-linux.so")
INTERCEPTOR = Frame(
    "__interceptor_malloc",
    "../../src/libsanitizer/lsan/lsan_interceptors.cpp",
    75,
    "/lib/liblsan.so.0",
)


def leak_of(
    path: list[str], kind: LeakKind = LeakKind.DEFINITELY_LOST, line: int = 3, page: int = 0
) -> Leak:
    stack = [
        Frame(name, "src/a.c", line, "/build/prog", (page << 12) + 16 * n)
        for n, name in enumerate(path)
    ]
    return Leak(kind, 8, 1, (*stack, Frame("main", "src/a.c", line, "/build/prog")))


@given(paths, lines, pages)
def test_lines_and_addresses_do_not_matter(path: list[str], line: int, page: int) -> None:
    assert fingerprint.of_leak(leak_of(path)) == fingerprint.of_leak(
        leak_of(path, line=line, page=page)
    )


@given(paths, identifiers)
def test_directories_do_not_matter(path: list[str], directory: str) -> None:
    leak = leak_of(path)
    moved = replace(
        leak,
        stack=tuple(
            replace(f, file=f"/home/{directory}/{f.file}", module=f"/opt/{directory}/prog")
            for f in leak.stack
        ),
    )
    assert fingerprint.of_leak(leak) == fingerprint.of_leak(moved)


@given(
    paths,
    st.lists(
        st.sampled_from([ALLOCATOR, INTERCEPTOR, Frame("calloc", module=ALLOCATOR.module)]),
        max_size=3,
    ),
)
def test_allocators_and_interceptors_do_not_matter(path: list[str], inner: list[Frame]) -> None:
    leak = leak_of(path)
    assert fingerprint.of_leak(leak) == fingerprint.of_leak(
        replace(leak, stack=(*inner, *leak.stack))
    )


@given(paths)
def test_what_is_below_main_does_not_matter(path: list[str]) -> None:
    leak = leak_of(path)
    below = (
        Frame("__libc_start_call_main", module="/lib/libc.so.6"),
        Frame("_start", module="/build/prog"),
    )
    assert fingerprint.of_leak(leak) == fingerprint.of_leak(
        replace(leak, stack=(*leak.stack, *below))
    )


@pytest.mark.parametrize(
    "start",
    [
        "start_thread",
        "asan_thread_start",
        "asan_thread_start(void*)",
        "ThreadStartFunc<false>",
        "void* ThreadStartFunc<false>(void*)",
    ],
)
def test_the_way_a_runtime_starts_a_thread_does_not_matter(start: str) -> None:
    stack = leak_of(["work"]).stack[:1]
    below = (Frame(start, module="/build/prog"), Frame("clone3", module="/lib/libc.so.6"))
    assert fingerprint.calls((*stack, *below)) == stack


@given(paths)
def test_the_way_a_tool_spells_a_function_does_not_matter(path: list[str]) -> None:
    spelled = [f"void {name}<int, char>(int, char*) const" for name in path]
    tight = [f"{name}<int,char>" for name in path]
    assert fingerprint.of_leak(leak_of(spelled)) == fingerprint.of_leak(leak_of(tight))


@given(paths, kinds)
def test_size_and_process_do_not_matter(path: list[str], kind: LeakKind) -> None:
    leak = leak_of(path, kind)
    assert fingerprint.of_leak(leak) == fingerprint.of_leak(
        replace(leak, size_bytes=99, blocks=7, pid=12)
    )


@given(paths, paths, kinds)
def test_other_functions_have_another_name(
    one: list[str], other: list[str], kind: LeakKind
) -> None:
    same = fingerprint.names(leak_of(one).stack) == fingerprint.names(leak_of(other).stack)
    assert (
        fingerprint.of_leak(leak_of(one, kind)) == fingerprint.of_leak(leak_of(other, kind))
    ) == same
    if one[:7] != other[:7]:
        assert not same


@given(paths, kinds, kinds)
def test_other_families_have_another_name(path: list[str], one: LeakKind, other: LeakKind) -> None:
    same = fingerprint.of_leak(leak_of(path, one)) == fingerprint.of_leak(leak_of(path, other))
    assert same == (one is other)


@given(st.lists(identifiers, unique=True, min_size=9, max_size=30), st.data())
def test_stacks_cut_below_eight_names_keep_their_name(path: list[str], data: st.DataObject) -> None:
    leak = leak_of(path)
    depth = data.draw(st.integers(8, len(path)))
    assert fingerprint.of_leak(leak) == fingerprint.of_leak(replace(leak, stack=leak.stack[:depth]))


@given(paths, st.integers(1, 6))
def test_depth_of_a_recursion_does_not_matter(path: list[str], depth: int) -> None:
    """valgrind repeats the address of the recursive call, which must not be taken for inlining."""

    def recursing(times: int) -> Leak:
        again = [Frame("Tree::visit(int)", "t.cc", 9, "/build/prog", 0x500)] * times
        first = Frame("Tree::visit(int)", "t.cc", 7, "/build/prog", 0x400)
        leak = leak_of(path)
        return replace(leak, stack=mark_inlined([first, *again, *leak.stack]))

    assert fingerprint.of_leak(recursing(depth)) == fingerprint.of_leak(recursing(depth + 1))


@given(st.lists(wild_frames, max_size=12), st.sampled_from(LeakKind))
def test_any_stack_has_a_name(stack: list[Frame], kind: LeakKind) -> None:
    name = fingerprint.of_leak(Leak(kind, 1, 1, tuple(stack)))
    assert len(name) == 16 and set(name) <= set("0123456789abcdef")
    fingerprint.innermost_own(tuple(stack))
    fingerprint.callers(tuple(stack))


@given(st.lists(st.builds(leak_of, paths, kinds), max_size=12))
def test_groups_keep_every_byte_and_have_each_name_once(leaks: list[Leak]) -> None:
    found = fingerprint.group(leaks)
    assert sum(one.size_bytes for one in found) == sum(leak.size_bytes for leak in leaks)
    assert sum(one.blocks for one in found) == sum(leak.blocks for leak in leaks)
    assert len({one.fingerprint for one in found}) == len(found)
    assert {one.fingerprint for one in fingerprint.group(reversed(leaks))} == {
        one.fingerprint for one in found
    }


@pytest.mark.parametrize(
    ("function", "qualified", "last"),
    [
        ("cooperator::run(int)", "cooperator::run", "run"),
        ("make_operator_table", "make_operator_table", "make_operator_table"),
        ("A::operator()(int) const", "A::operator()(int)const", "operator()(int)const"),
        ("A::operator bool() const", "A::operatorbool()const", "operatorbool()const"),
        ("int* make<int>(int)", "make<int>", "make<int>"),
        ("(anonymous namespace)::f(int)", "(anonymousnamespace)::f", "f"),
        ("work.part.0.isra.3", "work", "work"),
    ],
)
def test_names_of_functions(function: str, qualified: str, last: str) -> None:
    assert fingerprint.qualified_name(function) == qualified
    assert fingerprint.last_name(function) == last


@pytest.mark.parametrize(
    "piece", ["(", "<", ")", ".part", " [clone ", ".part.1", "::", "operator", "(>)::", "@@a", "f("]
)
def test_time_is_bounded_for_absurd_names(piece: str) -> None:
    name = "f" + piece * (100_000 // len(piece)) + "!"
    fingerprint.names(
        (Frame(name), Frame(name, is_inlined=True), Frame(name, module="/lib/libc.so.6"))
    )
