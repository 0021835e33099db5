"""The names of leaks whose allocation runs through a language runtime or a header-only library."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from pytest_leakguard.baseline.compare import AcceptedLeak, Baseline, compare
from pytest_leakguard.core import fingerprint
from pytest_leakguard.core.checks import Check
from pytest_leakguard.core.leaks import Finding, Frame, Leak, LeakKind, Status
from pytest_leakguard.core.runtimes import is_library
from pytest_leakguard.verdict import hanging, root_causes

RUSTC = "/rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library"
MALLOC = Frame("malloc", module="/usr/libexec/valgrind/vgpreload_memcheck-amd64-linux.so")
RUNTIMES = {
    "Rust": (
        Frame("alloc::alloc::Global::alloc_impl_runtime", f"{RUSTC}/alloc/src/alloc.rs", 190),
        Frame("alloc_impl", f"{RUSTC}/alloc/src/alloc.rs", 312, is_inlined=True),
        Frame("UnknownInlinedFun", f"{RUSTC}/alloc/src/raw_vec/mod.rs", 464, is_inlined=True),
        Frame("do_alloc<alloc::alloc::Global>", "/rust/deps/hashbrown-0.16.1/src/raw/alloc.rs", 19),
        Frame("hashbrown::raw::RawTableInner::new_uninitialized"),
        Frame("<T as alloc::slice::<impl [T]>::to_vec_in::ConvertVec>::to_vec"),
        Frame("<alloc::raw_vec::RawVecInner>::try_allocate_in"),
        Frame("core::iter::traits::iterator::Iterator::collect"),
        Frame("__rust_try"),
    ),
    "tokio": (
        Frame(
            "tokio::runtime::task::raw::poll",
            "/home/user/.cargo/registry/src/index.crates.io-1/tokio-1.40.0/src/runtime/task/raw.rs",
            271,
        ),
        Frame(
            "poll<T>",
            "/home/user/.cargo/registry/src/index.crates.io-1/tokio-1.40.0/src/task.rs",
            9,
            is_inlined=True,
        ),
    ),
    "abseil": (
        Frame(
            "absl::lts_20230125::container_internal::raw_hash_set<int>::resize(unsigned long)",
            "/usr/include/absl/container/internal/raw_hash_set.h",
            2012,
        ),
        Frame("initialize_slots", "/usr/include/absl/container/internal/raw_hash_set.h", 9),
    ),
    "boost": (
        Frame("boost::detail::shared_count::shared_count<Order>(Order*)"),
        Frame("boost::shared_ptr<Order> boost::make_shared<Order>()"),
    ),
    "Qt": (
        Frame("QArrayData::allocate(unsigned long, unsigned long)", module="/lib/libQt5Core.so.5"),
        Frame("QList<Order>::append(Order const&)", "/usr/include/qt5/QtCore/qlist.h", 6),
        Frame("QtPrivate::QSlotObject<void (Shop::*)()>::impl(int)"),
    ),
    "folly": (Frame("folly::fbvector<int>::emplace_back_aux<int>(int&&)"),),
    "Python": (
        Frame("raw_decode", "/usr/lib/python3.12/json/decoder.py", 353),
        Frame("decode", "/usr/lib/python3.12/json/decoder.py", 337),
        Frame("loads", "/usr/lib/python3.12/json/__init__.py", 346),
    ),
    "GoogleTest": (
        Frame("void testing::internal::HandleExceptionsInMethodIfSupported<testing::Test, void>()"),
        Frame("testing::Test::Run()", "/build/googletest-src/googletest/src/gtest.cc", 2687),
    ),
}


def leaked_in(user: str, runtime: tuple[Frame, ...], file: str = "src/shop.rs") -> Leak:
    own = Frame(user, file, 4)
    stack = (MALLOC, *runtime * 9, own, *runtime, Frame("shop::main", file, 14), Frame("main"))
    return Leak(LeakKind.DEFINITELY_LOST, 40, 1, stack)


def found(leak: Leak) -> Finding:
    (finding,) = fingerprint.group([leak])
    return finding


@pytest.mark.parametrize("runtime", RUNTIMES.values(), ids=list(RUNTIMES))
def test_the_name_of_a_leak_holds_the_users_calls_whatever_lies_between(
    runtime: tuple[Frame, ...],
) -> None:
    orders, users = (leaked_in(f"shop::{name}", runtime) for name in ("orders", "users"))
    assert fingerprint.own_names(orders.stack) == ("shop::orders", "shop::main", "main")
    assert found(orders).fingerprint != found(users).fingerprint


@pytest.mark.parametrize("runtime", RUNTIMES.values(), ids=list(RUNTIMES))
def test_the_users_line_is_the_one_that_is_shown(runtime: tuple[Frame, ...]) -> None:
    leak = leaked_in("shop::orders", runtime)
    own = fingerprint.innermost_own(leak.stack)
    assert own is not None
    assert (own.function, own.line) == ("shop::orders", 4)
    assert [frame.function for frame in fingerprint.callers(leak.stack)] == ["shop::main", "main"]


@pytest.mark.parametrize(
    "frame",
    [
        Frame("<shop::Shelf<T> as core::iter::Iterator>::next", "src/shop.rs", 8),
        Frame("<alloc::vec::Vec<T> as shop::Keep>::keep", "src/shop.rs", 8),
        Frame("core::Engine::load(int)", "src/engine.cpp", 8),
        Frame("core::mem::Pool::get(int)"),
        Frame("QRCode::encode(char const*)"),
        Frame("connect", "/venv/lib/python3.12/site-packages/acme/pool.py", 8),
        Frame("main", "/home/me/boost/app.cpp", 3),
        Frame("shop::testing::run()", "src/run.cpp", 3),
        Frame("std::vector<int>::push_back(int&&)", "/usr/include/c++/12/bits/stl_vector.h", 9),
    ],
    ids=lambda frame: frame.function,
)
def test_what_only_looks_like_a_librarys_call_stays_in_the_name(frame: Frame) -> None:
    assert not is_library(frame)


def test_a_leak_of_a_library_alone_keeps_the_librarys_calls_as_its_name() -> None:
    runtime = RUNTIMES["Rust"]
    entry = Frame("std::rt::lang_start", f"{RUSTC}/std/src/rt.rs", 205)
    stack = (MALLOC, *runtime, entry, Frame("main"))
    assert fingerprint.own_names(stack) == fingerprint.names(stack)


def test_what_was_accepted_under_the_former_name_stays_accepted() -> None:
    leak = leaked_in("shop::orders", RUNTIMES["Rust"])
    finding = found(leak)
    former = fingerprint.of_leak(leak)
    assert finding.former == (former,)
    entry = AcceptedLeak(former, LeakKind.DEFINITELY_LOST, ("shop",), 40, 1, "old")
    check = Check("shop", "program", "valgrind", findings=(finding,))
    compared = compare((check,), Baseline({former: entry}), dt.date(2026, 1, 1))
    assert compared.checks[0].findings[0].status is Status.KNOWN
    assert compared.fixed == ()


def test_accepting_one_function_does_not_cover_another() -> None:
    orders = found(leaked_in("shop::orders", RUNTIMES["Rust"]))
    users = found(leaked_in("shop::users", RUNTIMES["Rust"]))
    entry = AcceptedLeak(orders.fingerprint, LeakKind.DEFINITELY_LOST, ("shop",), 40, 1, "seen")
    check = Check("shop", "program", "valgrind", findings=(orders, users))
    compared = compare((check,), Baseline({entry.fingerprint: entry}), dt.date(2026, 1, 1))
    statuses = [finding.status for finding in compared.checks[0].findings]
    assert statuses == [Status.KNOWN, Status.NEW]


def test_a_stack_without_a_runtime_has_no_former_name() -> None:
    stack = (MALLOC, Frame("push", "src/server.c", 42), Frame("main", "src/server.c", 50))
    finding = found(Leak(LeakKind.DEFINITELY_LOST, 8, 1, stack))
    assert finding.former == ()
    assert replace(finding).fingerprint == fingerprint.of_leak(
        Leak(LeakKind.DEFINITELY_LOST, 8, 1, stack)
    )


def test_several_sites_behind_one_line_of_a_python_program_are_one_finding() -> None:
    line = (Frame("load", "shop.py", 8), Frame("<module>", "shop.py", 12))
    inner = [Frame(name, "/usr/lib/python3.12/json/decoder.py", 3) for name in ("scan", "decode")]
    leaks = [Leak(LeakKind.PYTHON_OBJECTS, 100, 10, (frame, *line)) for frame in inner]
    (finding,) = fingerprint.group(leaks)
    assert (finding.size_bytes, finding.sites) == (200, ("shop.py:8",))


def test_what_hangs_on_the_only_lost_block_is_told_with_it_and_not_apart() -> None:
    root = Leak(LeakKind.DEFINITELY_LOST, 40, 1, (MALLOC, Frame("keep", "a.c", 3)))
    hung = Leak(LeakKind.INDIRECTLY_LOST, 90, 9, (MALLOC, Frame("fill", "a.c", 9)))
    findings = [replace(each, checks=("it",)) for each in fingerprint.group((root, hung))]
    (cause,) = root_causes(findings)
    assert cause.size_bytes == 40
    assert [each.size_bytes for each in hanging(findings)[cause.fingerprint]] == [90]


def test_what_may_hang_on_either_of_two_lost_blocks_is_told_apart() -> None:
    roots = [
        Leak(LeakKind.DEFINITELY_LOST, 40, 1, (MALLOC, Frame(name, "a.c", 3)))
        for name in ("keep", "hold")
    ]
    hung = Leak(LeakKind.INDIRECTLY_LOST, 90, 9, (MALLOC, Frame("fill", "a.c", 9)))
    findings = [replace(each, checks=("it",)) for each in fingerprint.group((*roots, hung))]
    assert len(root_causes(findings)) == 3


def test_a_stack_whose_only_named_calls_are_a_librarys_is_named_by_them() -> None:
    unknown = Frame(None, address=16)
    of_library = Frame("hashbrown::raw::RawTable<T>::reserve_rehash")
    fingerprints = {
        fingerprint.folded(Leak(LeakKind.DEFINITELY_LOST, 8, 1, stack, 1))
        for stack in ((unknown,), (of_library, unknown))
    }
    assert len(fingerprints) == 2
    assert len(list(filter(fingerprint.is_nameless, fingerprints))) == 1
