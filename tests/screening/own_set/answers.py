"""The right answer for each function of the set: what leaks, how much, on which line, held by what.

Read without importing the functions, which start threads and open files.
"""

from __future__ import annotations

from dataclasses import dataclass
from sys import getsizeof

from pytest_leakguard.core.leaks import LeakKind

OBJECTS, GROWTH = LeakKind.PYTHON_OBJECTS, LeakKind.GROWTH
DESCRIPTORS, THREADS = LeakKind.FILE_DESCRIPTORS, LeakKind.THREADS
CHILDREN, MAPPINGS = LeakKind.CHILD_PROCESSES, LeakKind.MAPPINGS
ABOUT = 0.15
"""A buffer of CPython's grows by an eighth at a time: so far one run's mean may be from the truth."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What has to be said of one function. An empty field is not looked at."""

    line: str = ""
    """What the line contains that allocates what stays."""
    holder: str = ""
    """What one of the holders' names contains."""
    kinds: tuple[LeakKind, ...] = (OBJECTS,)
    """One of these; a file left on disk, say, has no kind of its own."""
    size_bytes: int = 0
    """Exactly what one run keeps, or one loss where not every run loses something."""
    about_bytes: int = 0
    """What one run keeps in the mean, within ``ABOUT``."""
    blocks: int = 0
    """Exactly how many blocks, or scarce things, one run keeps."""
    leaks: bool = True
    every: int = 1
    """It leaks in one run of so many."""
    other_line: str = ""
    """Right as well: the line in Python, where one in compiled code may be told."""
    package: str = ""
    """Another package that it needs."""

    @property
    def is_rare(self) -> bool:
        """Out of reach in a large suite, where that has to be said; found in a loop and a small suite."""
        return self.every > 1


CLEAN = Answer(leaks=False)


def bytes_of(length: int) -> int:
    """Size of a ``bytes`` object of that length."""
    return getsizeof(bytes(length))


def _native(line: str, size_bytes: int, blocks: int = 1) -> Answer:
    return Answer(line, kinds=(GROWTH,), size_bytes=size_bytes, blocks=blocks)


CONTAINERS = {
    "leak_beside_shared_sqlite_connection": Answer(
        "ROWS.append(bytearray(100))", "ROWS", size_bytes=getsizeof(bytearray(100))
    ),
    "clean_shared_sqlite_connection": CLEAN,
    "leak_beside_weak_set": Answer(
        "TICKETS.append(bytes(60))", "TICKETS", size_bytes=bytes_of(60), blocks=1
    ),
    "clean_weak_set": CLEAN,
    "leak_beside_log_buffer": Answer(
        "AUDIT.append(bytes(200))", "AUDIT", size_bytes=bytes_of(200), blocks=1
    ),
    "clean_batch_flushed_at_700": CLEAN,
    "leak_growing_bytearray": Answer(
        "RECEIVED.extend", "RECEIVED", (OBJECTS, GROWTH), about_bytes=24
    ),
    "leak_growing_list": Answer("TICKS.append", "TICKS", (OBJECTS, GROWTH), about_bytes=8),
    "leak_growing_dict": Answer("VISITS[", "VISITS", (OBJECTS, GROWTH)),
    "leak_growing_array": Answer("SAMPLES.append", "SAMPLES", (OBJECTS, GROWTH), about_bytes=8),
    "leak_growing_deque": Answer("DELAYS.append", "DELAYS", (OBJECTS, GROWTH), about_bytes=8),
    "clean_bytearray_emptied_at_60_000": CLEAN,
    "leak_class_attribute": Answer("Session.open_sessions.append", "open_sessions"),
    "leak_default_argument": Answer(
        "remember(bytes(90))", "remember", size_bytes=bytes_of(90), blocks=1
    ),
    "leak_closure_listener": Answer("payload = bytes(1000)", "APPLICATION"),
    "leak_bound_method_listener": Answer("", "REDRAW"),
    "leak_exception_with_traceback": Answer("", "ERRORS"),
    "clean_exception_dropped": CLEAN,
    "leak_generator_never_finished": Answer("", "STREAMS"),
    "clean_generator_dropped": CLEAN,
    "leak_class_per_run": Answer('type("Made", (Plugin,), {})', "registry"),
    "clean_class_per_run": CLEAN,
    "leak_weak_key_with_strong_value": Answer("", "STATE"),
    "clean_weak_key": CLEAN,
    "leak_weakref_callback": Answer("", "WATCHES"),
    "clean_weakref_callback": CLEAN,
    "leak_behind_a_chain_of_20": Answer("Link(", "DEEP"),
    "leak_resurrected_object": Answer("Phoenix()", "ashes"),
    "leak_wrapped_again_and_again": Answer("", "HELPERS"),
    "clean_wrapped_and_restored": CLEAN,
    "leak_two_causes": Answer("", ""),
    "leak_100_megabytes": Answer(
        "WHOLE_FILES.append", "WHOLE_FILES", size_bytes=bytes_of(0) + 100_000_000
    ),
    "clean_100_megabytes": CLEAN,
    "clean_random_trees": CLEAN,
    "clean_sorted_window_that_breathes": CLEAN,
    "clean_cycles": CLEAN,
    "clean_toggled_entry": CLEAN,
    "clean_statistics": CLEAN,
    "clean_made_on_first_use": CLEAN,
    "leak_bounded_queue_per_new_user": Answer("PER_USER", "PER_USER"),
}
CACHES = {
    "clean_lru_cache_per_instance": CLEAN,
    "leak_lru_cache_keeps_instances": Answer("", "tax"),
    "leak_cache_without_limit": Answer("", "spelled"),
    "clean_lru_cache_10_000": CLEAN,
    "clean_dict_cleared_at_4000": CLEAN,
    "clean_memo_of_4000_random_keys": CLEAN,
    "clean_ordered_dict_of_6000": CLEAN,
    "leak_ordered_dict_never_evicts": Answer("", "BROKEN"),
    "clean_ttl_swept": CLEAN,
    "leak_ttl_expired_only_when_read": Answer("UNSWEPT[", "UNSWEPT"),
    "clean_ring_buffer": CLEAN,
    "clean_deque_of_300": CLEAN,
    "clean_deque_of_20_000": CLEAN,
    "clean_pool_of_buffers": CLEAN,
    "clean_cache_of_two_generations": CLEAN,
    "clean_history_trimmed": CLEAN,
    "clean_re_cache": CLEAN,
    "clean_reservoir_of_50": CLEAN,
    "clean_logarithmic_fill": CLEAN,
    "clean_cachetools_lru_5000": Answer(leaks=False, package="cachetools"),
    "clean_cachetools_ttl_3000": Answer(leaks=False, package="cachetools"),
    "clean_sqlalchemy_compiled_cache": Answer(leaks=False, package="sqlalchemy"),
}
RARE = {
    "leak_every_7th_run": Answer(
        "KEPT_7.append(bytes(1000))", "KEPT_7", size_bytes=bytes_of(1000), every=7
    ),
    "leak_every_13th_run": Answer("KEPT_13.append(bytearray(100))", "KEPT_13", every=13),
    "leak_every_40th_run": Answer("KEPT_40.append(bytes(300))", "KEPT_40", every=40),
    "leak_descriptor_every_5th_run": Answer("os.open(os.devnull", "", (DESCRIPTORS,), every=5),
    "clean_replaced_every_7th_run": CLEAN,
    "clean_every_13th_run_flushed_at_20": CLEAN,
}
NATIVE = {
    "leak_malloc_1": _native("LIBC.malloc(1)", 1),
    "leak_malloc_16": _native("LIBC.malloc(16)", 16),
    "leak_calloc_24": _native("LIBC.calloc(2, 12)", 24),
    "clean_malloc_freed": CLEAN,
    "leak_library_24": _native("malloc(size)", 24),
    "leak_library_400": _native("malloc(size)", 400),
    "leak_library_1": _native("malloc(size)", 1),
    "leak_copied_name": _native("strdup(name)", len("fifteen letters") + 1),
    "leak_aligned_block": _native("posix_memalign", 96),
    "leak_native_pages": Answer("mmap(NULL", kinds=(MAPPINGS, GROWTH), size_bytes=65_536, blocks=1),
    "leak_growing_journal": Answer(
        "realloc(journal",
        kinds=(GROWTH,),
        size_bytes=48,
        other_line="LIBRARY.grow_journal",
    ),
    "leak_block_of_native_thread": _native("malloc((size_t)size)", 40),
    "leak_library_16_beside_noise": _native("malloc(size)", 16),
    "leak_library_every_7th_run": Answer(
        "malloc(size)",
        kinds=(GROWTH,),
        size_bytes=640,
        every=7,
        other_line="LIBRARY.keep_block",
    ),
    "leak_lost_reference": Answer(
        "PyBytes_FromStringAndSize(NULL", size_bytes=bytes_of(600), blocks=1
    ),
    "leak_memory_of_python": Answer(
        "PyMem_Malloc(size)", kinds=(OBJECTS, GROWTH), size_bytes=72, blocks=1
    ),
    "leak_small_object_with_much_behind": Answer(
        "", "IMAGES", (OBJECTS, GROWTH), about_bytes=100_070
    ),
    "clean_handle_closed": CLEAN,
    "clean_native_slots": CLEAN,
    "clean_native_pool": CLEAN,
    "clean_native_scratch": CLEAN,
    "leak_python_and_native": Answer(
        "", "", (OBJECTS, GROWTH), size_bytes=bytes_of(100) + 24, blocks=2
    ),
}
RESOURCES = {
    "leak_file_kept_open": Answer("FILES.append(open(", "FILES", (DESCRIPTORS,), blocks=1),
    "leak_descriptor": Answer("os.O_WRONLY", "", (DESCRIPTORS,), blocks=1),
    "leak_end_of_pipe": Answer("os.pipe()", "", (DESCRIPTORS,), blocks=1),
    "leak_socket": Answer("SOCKETS.append(socket", "SOCKETS", (DESCRIPTORS,), blocks=1),
    "leak_100_descriptors": Answer("os.open(os.devnull", "", (DESCRIPTORS,), blocks=100),
    "clean_file_closed": CLEAN,
    "clean_descriptor_opened_on_first_use": CLEAN,
    "leak_thread": Answer("threading.Thread(target=NEVER.wait", "", (THREADS,), blocks=1),
    "leak_timer": Answer("", "", (THREADS,), blocks=1),
    "clean_timer_cancelled": CLEAN,
    "leak_made_by_a_thread_that_ended": Answer(
        "RESULTS.append(bytes(555))", "RESULTS", size_bytes=bytes_of(555), blocks=1
    ),
    "clean_shared_executor": CLEAN,
    "leak_future_kept": Answer("EXECUTOR.submit(abs, -3)", "FUTURES"),
    "leak_thread_local_of_main_thread": Answer(
        "LOCAL.items.append(bytes(222))", "LOCAL", size_bytes=bytes_of(222), blocks=1
    ),
    "leak_child": Answer("subprocess.Popen", "CHILDREN", (CHILDREN,), blocks=1),
    "leak_child_never_waited_for": Answer("os.posix_spawn", "", (CHILDREN,), blocks=1),
    "clean_child": CLEAN,
    "leak_temporary_file": Answer("tempfile.mkstemp()", "", (), blocks=1),
    "leak_temporary_directory": Answer("tempfile.mkdtemp()", "", (), blocks=1),
    "clean_temporary_directory": CLEAN,
    "leak_mapping": Answer("MAPS.append(mmap", "MAPS", (MAPPINGS, OBJECTS)),
    "clean_mapping_closed": CLEAN,
    "leak_shared_memory_not_unlinked": Answer("SharedMemory(create=True", "", (), blocks=1),
    "clean_shared_memory_unlinked": CLEAN,
    "clean_background_thread_allocates": CLEAN,
}
STDLIB = {
    "leak_pending_task": Answer("create_task(_wait_for_ever())", "PENDING", ()),
    "leak_finished_task_kept": Answer("", "FINISHED"),
    "clean_gather": CLEAN,
    "clean_cancelled_task": CLEAN,
    "leak_context_of_request": Answer("", "CONTEXTS"),
    "clean_context_variable_reset": CLEAN,
    "leak_atexit": Answer("atexit.register(len, bytes(130))", "atexit"),
    "leak_signal_chain": Answer("", "signal"),
    "clean_signal_handler": CLEAN,
    "leak_excepthook_chain": Answer("", "excepthook"),
    "leak_environment": Answer("os.environ[f", "environ", (OBJECTS, GROWTH)),
    "clean_environment": CLEAN,
    "leak_interned_names": Answer("NAMES.append(sys.intern(", "NAMES", blocks=1),
    "leak_module_made_by_exec": Answer("", "modules"),
    "clean_module_made_by_exec": CLEAN,
    "leak_logging_handler": Answer("LOGGER.addHandler", "handlers"),
    "leak_logger_per_request": Answer("logging.getLogger(", "loggerDict"),
    "clean_logging_handler_removed": CLEAN,
    "leak_singledispatch_registration": Answer("", "shown"),
    "leak_codec_search_function": Answer("codecs.register(lambda", ""),
    "clean_mock_of_module": CLEAN,
    "clean_patched": CLEAN,
    "clean_same_warning": CLEAN,
    "clean_codecs_and_structs": CLEAN,
    "clean_json_encoder": CLEAN,
    "clean_decimal_context": CLEAN,
    "clean_time_zones": CLEAN,
    "clean_instance_check_of_new_class": CLEAN,
    "clean_import_on_first_use": CLEAN,
    "leak_numpy_array": Answer(
        "ARRAYS.append", "ARRAYS", (OBJECTS, GROWTH), about_bytes=8_110, package="numpy"
    ),
    "clean_numpy_sorted": Answer(leaks=False, package="numpy"),
}
MODULES = {
    "containers": CONTAINERS,
    "caches": CACHES,
    "rare": RARE,
    "native": NATIVE,
    "resources": RESOURCES,
    "stdlib": STDLIB,
}
ANSWERS = {
    f"{module}.{name}": answer
    for module, table in MODULES.items()
    for name, answer in table.items()
}
