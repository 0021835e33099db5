"""attrs 26.1.0: its tests call ``pympler.asizeof``, which keeps every class it is asked about.

``pympler.asizeof`` has a table of types, ``_typedefs``, with strong references.
``tests/test_slots.py`` asks for the size of instances of classes that each test defines anew; they
are never freed.

    pip install pympler==1.1 && python pympler_types.py
"""

import gc
import weakref

from pympler import asizeof


def size_of_an_instance() -> "weakref.ref[type]":
    class Point:
        __slots__ = ("x", "y")

    asizeof.asizeof(Point())
    return weakref.ref(Point)


size_of_an_instance()
before = len(asizeof._typedefs)
classes = [size_of_an_instance() for _ in range(1000)]
gc.collect()
alive = sum(kept() is not None for kept in classes)
print(f"of 1,000 classes that nobody uses any more {alive} are alive")
print(f"entries of pympler.asizeof._typedefs: {before}, then {len(asizeof._typedefs)}")
