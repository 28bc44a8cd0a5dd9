"""Export of a namespace and import into an empty daemon: seconds, what memory they take, and whether all is equal after it.

Real daemons. The first one is filled from a file of the format itself: texts of the corpus, every tenth with two earlier
states, every twentieth superseding the one before it, embeddings that are random unit vectors under the name of the daemon's
model, so that nobody has to run it for them. *Growth* is the most resident memory no file backs, less what it was before.
What an import brings lives in the in-process index from then on, so its growth is also told without the index's own bytes.
``equal``: every line of the second daemon's export but the header is that of the first one's.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from memd_client import Client

from benches import report
from benches.corpus import Corpus
from benches.daemon import MeasuredDaemon, resident, running, temporary_directory
from benches.report import Figure, Target, progress
from benches.servers import backend
from memd.domain.model import Memory, Scope
from memd.domain.portable import End, Header, PortableMemory, counted, lines_of
from memd.limits import EXPORT_CHUNK_BYTES, SECOND_US

TARGETS = (Target("rss_growth_mb", "<=", 50.0), Target("import_beyond_index_mb", "<=", 150.0))
DIMENSIONS = 384
SAMPLE_S = 0.05
START_US = 1_750_000_000 * SECOND_US
USER = "ada"


class Growth:
    """The most anonymous memory of a process since it was begun, in MB, beyond what it had then."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._first = self._most = resident(pid).anon_mb
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_S):
            self._most = max(self._most, resident(self._pid).anon_mb)

    def __enter__(self) -> Growth:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def mb(self) -> float:
        return self._most - self._first


def made(args: argparse.Namespace, model: str) -> Iterator[bytes]:
    """The lines of an export of ``--memories`` memories."""
    rng = np.random.default_rng(args.seed)
    seen = End()
    header = Header("default", model, 0, 0, START_US)
    yield from lines_of(header)
    for number, text in enumerate(Corpus(args.seed).memories(args.memories)):
        one = _memory(number, text, rng)
        seen += counted(one)
        yield from lines_of(one)
    yield from lines_of(seen)


def _memory(number: int, text: str, rng: np.random.Generator) -> PortableMemory:
    bare = rng.standard_normal(DIMENSIONS)
    window = (bare / np.linalg.norm(bare)).astype("<f4").tobytes()
    time_us = START_US + number
    first = Memory(
        f"m{number}", Scope("default", USER), text, writer="bench", version=1, create_time=time_us, update_time=time_us
    )
    if number % 20 == 19:
        return PortableMemory(replace(first, supersedes=f"m{number - 1}"), (window,))
    if number % 20 == 18:
        return PortableMemory(replace(first, superseded_by=f"m{number + 1}", valid_to=time_us + 1), (window,))
    if number % 10 == 0:
        earlier = tuple(replace(first, version=n, content=f"{text} ({n})") for n in (1, 2))
        return PortableMemory(replace(first, version=3), (window,), earlier)
    return PortableMemory(first, (window,))


def pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while piece := opened.read(EXPORT_CHUNK_BYTES):
            yield piece


def digest(file: Path) -> str:
    """Of all lines but the header, which tells the moment."""
    with file.open("rb") as opened:
        opened.readline()
        return hashlib.file_digest(opened, "sha256").hexdigest()


def export(client: Client, file: Path) -> None:
    with file.open("wb") as opened:
        for chunk in client.export_namespace():
            opened.write(chunk)


def model_of(client: Client) -> str:
    header = json.loads(b"".join(client.export_namespace()).splitlines()[0])
    return str(header["header"]["model"])


@contextlib.contextmanager
def daemon(directory: Path, args: argparse.Namespace) -> Iterator[MeasuredDaemon]:
    """On storage of its own."""
    directory.mkdir()
    with backend(args.backend, directory) as environment:
        server = MeasuredDaemon(directory / "daemon", environment=environment)
        with running(server):
            yield server


def fill(server: MeasuredDaemon, args: argparse.Namespace, file: Path) -> None:
    """From a file that is made here; then the daemon is started anew, so that what it took for that is gone."""
    with Client(server.address) as client:
        with file.open("wb") as opened:
            opened.writelines(made(args, model_of(client)))
        progress(f"filling the first daemon with {args.memories:,} memories")
        client.import_namespace(pieces(file))
    server.restart()


def measured_export(server: MeasuredDaemon, file: Path) -> dict[str, Figure]:
    with Client(server.address, user_id=USER) as client:
        client.recall("where is the harbour?")  # its index is there
        wait_for_index(client)
        progress("exporting")
        started = time.perf_counter()
        with Growth(server.pid) as growth:
            export(client, file)
        return {
            "export_s": time.perf_counter() - started,
            "rss_growth_mb": growth.mb,
            "file_mb": file.stat().st_size / 1e6,
        }


def wait_for_index(client: Client) -> None:
    """Until all memories are in it."""
    while (stats := client.stats().namespace).index_entries < stats.memories:
        time.sleep(SAMPLE_S)


def measured_import(server: MeasuredDaemon, file: Path) -> dict[str, Figure]:
    with Client(server.address, user_id=USER) as client:
        client.recall("where is the harbour?")
        progress("importing")
        started = time.perf_counter()
        with Growth(server.pid) as growth:
            taken = client.import_namespace(pieces(file))
        seconds = time.perf_counter() - started
        index_mb = client.stats().namespace.index_bytes / 1e6
        return {
            "import_s": seconds,
            "imported": taken.imported,
            "import_rss_growth_mb": growth.mb,
            "index_mb": index_mb,
            "import_beyond_index_mb": growth.mb - index_mb,
        }


def measure(args: argparse.Namespace, directory: Path) -> dict[str, Figure]:
    file, back = directory / "exported.jsonl", directory / "back.jsonl"
    figures: dict[str, Figure] = {"memories": args.memories, "backend": args.backend}
    with daemon(directory / "first", args) as source:
        fill(source, args, file)
        figures |= measured_export(source, file)
    with daemon(directory / "second", args) as target:
        figures |= measured_import(target, file)
        with Client(target.address) as client:
            figures["verified"] = client.verify(timeout_s=120.0).ok
            export(client, back)
    return {**figures, "equal": digest(back) == digest(file)}


def main() -> None:
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--memories", type=int, default=100_000)
    parser.add_argument("--backend", choices=("sqlite", "servers"), default="sqlite")
    args = parser.parse_args()
    with temporary_directory() as directory:
        figures = measure(args, directory)
    report.publish("export_import", args, figures, TARGETS)


if __name__ == "__main__":
    main()
