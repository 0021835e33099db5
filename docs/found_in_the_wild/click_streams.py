"""click 8.5.1: each ``CliRunner.invoke`` that prints leaves its streams behind.

``click._compat`` keeps the stream to print to in a ``WeakKeyDictionary`` by ``sys.stdout``. Where
``sys.stdout`` is good enough, as the runner's is, the value is the stream itself: an entry whose
value holds its own key is never dropped.

    pip install click==8.5.1 && python click_streams.py
"""

import gc
import sys

import click
from click.testing import CliRunner


@click.command()
def hello() -> None:
    click.echo("hello")


def streams() -> int:
    """How many of the runner's streams are alive."""
    gc.collect()
    return sum(type(thing).__name__ == "_NamedTextIOWrapper" for thing in gc.get_objects())


for _ in range(10):
    CliRunner().invoke(hello)
before, blocks = streams(), sys.getallocatedblocks()
for _ in range(1000):
    CliRunner().invoke(hello)
print(f"streams alive: {before}, after 1,000 more invocations {streams()}")
print(f"blocks of memory per invocation: {(sys.getallocatedblocks() - blocks) / 1000:.1f}")
