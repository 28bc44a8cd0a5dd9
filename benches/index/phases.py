"""The parts of the measurement. Each takes the indexes that are up, and gives figures by the name of the contender."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benches.index.contenders import EFS, EXACT, FILTER_EFS, Contender, Index
from benches.index.curve import Point, cheapest, ef_at, ms_at
from benches.index.engines.engine import Mask
from benches.index.truth import Truth
from benches.index.turns import SLICE, curves
from benches.index.vectors import Sample
from benches.report import Figure, median, progress

K = 10
RECALLS = (0.95, 0.98, 0.99)
FILTER_RECALL = 0.99
FILTERS = {"filtered_1pct": 0.01, "filtered_10pct": 0.1}
REMOVED_SHARE = 0.1
EXACT_ROWS = 10_000
DEFAULT_EF = 64
_SLOW_QUERIES = 200  # of what takes some libraries tens of milliseconds
_OVERHEAD_SLICES = 10


@dataclass(slots=True)
class Run:
    """One run: its data on disk for the contenders' processes, and what was found so far."""

    directory: Path
    sample: Sample
    truth: Truth
    seed: int
    rounds: int
    found: dict[str, dict[str, Figure]] = field(default_factory=dict)
    curves: Mapping[str, Sequence[Point]] = field(default_factory=dict)

    @classmethod
    def over(cls, sample: Sample, directory: Path, *, seed: int, rounds: int) -> Run:
        run = cls(directory, sample, Truth.of(sample.rows, sample.queries, K), seed, rounds)
        np.save(run.rows_file, sample.rows)
        np.save(run.queries_file, sample.queries)
        return run

    @property
    def rows_file(self) -> Path:
        return self.directory / "rows.npy"

    @property
    def queries_file(self) -> Path:
        return self.directory / "queries.npy"

    def started(self, contender: Contender) -> contextlib.AbstractContextManager[Index]:
        return Index.started(contender, self.rows_file, self.queries_file)

    def note(self, name: str, **figures: Figure) -> None:
        """Keep figures of one contender."""
        self.found.setdefault(name, {}).update(figures)

    def write(self, name: str, array: np.typing.NDArray[np.generic]) -> Path:
        """An array as a file that the contenders' processes read."""
        path = self.directory / f"{name}.npy"
        np.save(path, array)
        return path

    def mask(self, share: float) -> Mask:
        """A random ``share`` of the slots; the same one for the same seed."""
        rng = np.random.default_rng([self.seed, round(1 / share)])
        mask = np.zeros(len(self.sample.rows), np.bool_)
        mask[rng.choice(len(mask), size=round(share * len(mask)), replace=False)] = True
        return mask


@contextlib.contextmanager
def built(run: Run, contenders: Sequence[Contender], threads: Sequence[int]) -> Iterator[list[Index]]:
    """Every contender's index. Each build has a process of its own; those of the last number of threads stay up."""
    count = len(run.sample.rows)
    with contextlib.ExitStack() as stack:
        indexes: list[Index] = []
        for number in threads:
            for contender in contenders:
                with contextlib.ExitStack() as own:
                    index = own.enter_context(run.started(contender))
                    done = index.ask("build", count=count, threads=number) or {}
                    times = {"s": done["seconds"], "cpu_s": done["cpu_seconds"]}
                    run.note(
                        contender.name, **{f"build_{number}_threads_{unit}": taken for unit, taken in times.items()}
                    )
                    progress(f"built {contender.name} with {number} threads in {done['seconds']:.1f} s")
                    if number == threads[-1]:
                        _note_memory(run, index, done["rss_bytes"])
                        stack.push(own.pop_all())
                        indexes.append(index)
        yield indexes


def _note_memory(run: Run, index: Index, rss_bytes: int) -> None:
    count = len(run.sample.rows)
    own = index.ask("own_bytes")
    run.note(
        index.contender.name,
        bytes_per_vector=rss_bytes / count,
        own_bytes_per_vector=None if own is None else own["bytes"] / count,
    )


def measure_searches(run: Run, indexes: Sequence[Index]) -> None:
    """Recall and time over each grid, and the time at the recalls of interest."""
    run.curves = curves("search", indexes, EFS, run.truth, rounds=run.rounds)
    for name, curve in run.curves.items():
        run.note(name, **{f"ms_p50_at_{recall * 100:.0f}": ms_at(curve, recall) for recall in RECALLS})


def measure_filters(run: Run, indexes: Sequence[Index]) -> None:
    """Filters that let a random 1 and 10 % through: the fastest point of good recall, else the best recall there is."""
    for name, share in FILTERS.items():
        visible = run.mask(share)
        if np.count_nonzero(visible) <= K:
            progress(f"{name}: too few vectors")
            continue
        truth = Truth.of(run.sample.rows, run.sample.queries[:_SLOW_QUERIES], K, visible)
        found = curves(name, indexes, FILTER_EFS, truth, rounds=run.rounds, visible=run.write(name, visible))
        for contender, curve in found.items():
            point = cheapest(curve, FILTER_RECALL)
            if point is not None:
                run.note(contender, **{f"{name}_ms": point.ms, f"{name}_recall": point.recall})


def measure_files(run: Run, indexes: Sequence[Index]) -> None:
    """Save; load into a new index in the same process, up to its first answer."""
    for index in indexes:
        name = index.contender.name
        path = str(run.directory / f"{name}.index")
        saved = index.ask("save", path=path)
        loaded = index.ask("load", path=path)
        if saved is not None and loaded is not None:
            size = saved["bytes"] / len(run.sample.rows)
            run.note(name, save_s=saved["seconds"], load_s=loaded["seconds"], file_bytes_per_vector=size)


def measure_removal(run: Run, indexes: Sequence[Index]) -> None:
    """A tenth of the rows goes, upkeep included; then recall and time at the ef that reached .98 before."""
    gone = run.mask(REMOVED_SHARE)
    slots = np.flatnonzero(gone)
    path = run.write("gone", slots)
    truth = Truth.of(run.sample.rows, run.sample.queries[:_SLOW_QUERIES], K, ~gone)
    for index in indexes:
        name = index.contender.name
        done = index.ask("remove", slots=str(path))
        if done is None:
            continue
        ef = ef_at(run.curves[name], RECALLS[1])
        point = curves(f"{name} after removal", [index], [DEFAULT_EF if ef is None else ef], truth, rounds=1)[name][0]
        each_us = done["seconds"] * 1e6 / len(slots)
        run.note(name, remove_us=each_us, after_removal_ms=point.ms, after_removal_recall=point.recall)


def measure_exact(run: Run, contenders: Sequence[Contender]) -> None:
    """Small namespaces: at most 10,000 rows, where an index may scan. ``exact_10k_mode``: asked for an exact answer."""
    rows = run.sample.rows[:EXACT_ROWS]
    truth = Truth.of(rows, run.sample.queries, K)
    scanning = [contender for contender in contenders if contender.name in ("memd", "numpy")]
    with contextlib.ExitStack() as stack:
        indexes = [stack.enter_context(run.started(contender)) for contender in scanning]
        for index in indexes:
            index.ask("build", count=len(rows), threads=1)
        if not indexes:
            return
        for prefix, ef in (("exact_10k", DEFAULT_EF), ("exact_10k_mode", EXACT)):
            for name, curve in curves(prefix, indexes, [ef], truth, rounds=run.rounds).items():
                run.note(name, **{f"{prefix}_ms": curve[0].ms, f"{prefix}_overlap": curve[0].recall})


def measure_overhead(run: Run, indexes: Sequence[Index]) -> None:
    """What a search from Python costs above the same call inside the library, for who can tell."""
    for index in indexes:
        ef = ef_at(run.curves[index.contender.name], RECALLS[1])
        inside: list[float] = []
        outside: list[float] = []
        for first in range(0, min(len(run.sample.queries), _OVERHEAD_SLICES * SLICE), SLICE):
            last = min(first + SLICE, len(run.sample.queries))
            taken = index.ask("overhead", first=first, last=last, k=K, ef=DEFAULT_EF if ef is None else ef)
            if taken is None:
                break
            inside += taken["inside_us"]
            outside += taken["outside_us"]
        if outside:
            run.note(index.contender.name, search_overhead_us=median(outside) - median(inside))
