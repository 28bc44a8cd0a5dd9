"""Many points at once: as many fork servers as cores, each point in a directory of its own."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from tests.reliability.forks import Forks

P = TypeVar("P")
R = TypeVar("R")
MAX_SERVERS = 4


_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 256 * 1024 * 1024


def each(points: Iterable[P], work: Callable[[Forks, Path, P], R]) -> list[R]:
    """``work`` on every point, results in order; the first error is raised. A point's directory goes when it is done."""
    with in_memory() as directory:
        return _each(points, work, directory)


@contextlib.contextmanager
def in_memory() -> Iterator[Path]:
    """A directory in memory where the system has such a place: what a kill leaves is the same there, only sooner."""
    roomy = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _ROOM_BYTES
    with tempfile.TemporaryDirectory(prefix="memd-test-", dir=_MEMORY if roomy else None) as made:
        yield Path(made)


def _each(points: Iterable[P], work: Callable[[Forks, Path, P], R], directory: Path) -> list[R]:
    servers: queue.SimpleQueue[Forks] = queue.SimpleQueue()
    count = min(MAX_SERVERS, os.cpu_count() or 1)
    made = [Forks(directory / f"errors-{n}") for n in range(count)]
    for server in made:
        servers.put(server)

    def one(numbered: tuple[int, P]) -> R:
        number, point = numbered
        place = directory / f"point-{number}"
        place.mkdir()
        server = servers.get()
        try:
            return work(server, place, point)
        finally:
            servers.put(server)
            shutil.rmtree(place)

    try:
        with ThreadPoolExecutor(count) as threads:
            return list(threads.map(one, enumerate(points)))
    finally:
        for server in made:
            server.close()


def result(path: Path) -> dict[str, Any]:
    """What a task left there; empty when it was killed before."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found
