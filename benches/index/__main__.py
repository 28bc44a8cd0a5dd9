"""Vector search beside hnswlib, usearch, faiss and numpy: one run, the same data, searches in turn on one thread.

--data real: sentences from the docstrings and comments of the installed packages, embedded once and cached. --only
chooses who takes part (numpy and memd need no environment of their own). The plot of recall against time goes to
benches/results/DATE/ unless --plot says otherwise.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benches import curves, report
from benches.daemon import temporary_directory
from benches.index import parts, phases, sentences, vectors
from benches.index.contenders import CONTENDERS, REQUIREMENTS, Contender
from benches.index.curve import Point
from benches.index.phases import RECALLS, Run
from benches.report import Figure, Target, progress

RESULTS = Path(report.__file__).parent / "results"
PLOT_FILE = "index.svg"
TARGETS = (
    *(Target(f"ratio_to_hnswlib_at_{recall * 100:.0f}", "<=", 0.6) for recall in RECALLS),
    Target("build_ratio_vs_hnswlib", "<=", 0.6),
    Target("bytes_per_vector", "<=", 650),
    Target("filtered_1pct_ms", "<=", 0.3),
    Target("filtered_1pct_recall", ">=", 0.99),
    Target("filtered_10pct_ms", "<=", 0.5),
    Target("filtered_10pct_recall", ">=", 0.99),
    Target("exact_10k_ratio_vs_numpy", "<=", 0.35),
    Target("exact_10k_overlap", ">=", 0.995),
    Target("search_overhead_us", "<=", 20),
)
_OWN = (
    "ids_bytes_per_vector",
    "words_bytes_per_memory",
    "fields_bytes_per_memory",
    "exact_10k_overlap",
    "exact_10k_mode_overlap",
    "search_overhead_us",
)


def measure(args: argparse.Namespace, contenders: Sequence[Contender], directory: Path) -> Run:
    """Everything, by contender."""
    sample = vectors.sample(args.data, args.vectors, args.queries, args.seed)
    progress(f"{len(sample.rows):,} vectors, {len(sample.queries):,} queries; looking for the right answers")
    run = Run.over(sample, directory, seed=args.seed, rounds=args.rounds)
    with phases.built(run, contenders, args.threads) as indexes:
        phases.measure_searches(run, indexes)
        phases.measure_overhead(run, indexes)
        phases.measure_filters(run, indexes)
        phases.measure_files(run, indexes)
        phases.measure_removal(run, indexes)
    phases.measure_exact(run, contenders)
    if "memd" in run.found:
        _note_parts(run, args)
    return run


def _note_parts(run: Run, args: argparse.Namespace) -> None:
    """What memories take beside their vectors, by memd's own account. Made-up vectors have no texts."""
    first, count = args.queries, len(run.sample.rows)
    texts = sentences.sentences()[first : first + count] if args.data == "real" else [""] * count
    held = parts.bytes_per_vector(run.sample.rows, texts)
    run.note("memd", ids_bytes_per_vector=held["ids"], fields_bytes_per_memory=held["fields"])
    if args.data == "real":
        run.note("memd", words_bytes_per_memory=held["words"])


def headline(found: Mapping[str, Mapping[str, Figure]], threads: int) -> dict[str, Figure]:
    """memd's figures, and their ratios to the others'; None where one of the two is missing."""
    memd, hnswlib, numpy = (found.get(name, {}) for name in ("memd", "hnswlib", "numpy"))
    figures: dict[str, Figure] = {
        f"ratio_to_hnswlib_at_{recall * 100:.0f}": _ratio(memd, hnswlib, f"ms_p50_at_{recall * 100:.0f}")
        for recall in RECALLS
    }
    figures["speedup_vs_hnswlib_at_98"] = _ratio(hnswlib, memd, "ms_p50_at_98")
    figures["build_ratio_vs_hnswlib"] = _ratio(memd, hnswlib, f"build_{threads}_threads_s")
    figures["build_cpu_ratio_vs_hnswlib"] = _ratio(memd, hnswlib, f"build_{threads}_threads_cpu_s")
    vectors_alone, ids = memd.get("bytes_per_vector"), memd.get("ids_bytes_per_vector")
    figures["bytes_per_vector"] = None
    if isinstance(vectors_alone, float) and isinstance(ids, float):
        figures["bytes_per_vector"] = vectors_alone + ids
    figures |= {f"{name}_{what}": memd.get(f"{name}_{what}") for name in phases.FILTERS for what in ("ms", "recall")}
    figures["exact_10k_ratio_vs_numpy"] = _ratio(memd, numpy, "exact_10k_ms")
    return figures | {key: memd.get(key) for key in _OWN}


def _ratio(one: Mapping[str, Figure], other: Mapping[str, Figure], key: str) -> float | None:
    above, below = one.get(key), other.get(key)
    if not isinstance(above, int | float) or not isinstance(below, int | float):
        return None
    return above / below


def draw(run: Run, heading: str, title: str) -> str:
    """The plot, memd first."""
    names = sorted(run.curves, key=lambda name: name != "memd")
    return curves.svg(heading, title, {name: _line(run.curves[name]) for name in names})


def _line(curve: Sequence[Point]) -> list[tuple[float, float]]:
    return [(point.recall, point.ms) for point in curve]


def main() -> None:
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--data", choices=["real", "synthetic"], default="real")
    parser.add_argument("--queries", type=int, default=1_000, help="held out of the vectors")
    parser.add_argument("--only", type=_contenders, default=",".join(CONTENDERS), help="who takes part, with commas")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of the builds, one after the other")
    parser.add_argument("--rounds", type=int, default=3, help="over all queries; medians are over all rounds")
    parser.add_argument("--plot", type=Path, help="SVG file; default benches/results/DATE/index.svg")
    args = parser.parse_args()
    with temporary_directory() as directory:
        run = measure(args, args.only, directory)
    machine = report.machine()
    plot = args.plot or RESULTS / datetime.now(UTC).strftime("%Y-%m-%d") / PLOT_FILE
    plot.parent.mkdir(parents=True, exist_ok=True)
    title = f"{args.vectors:,} {args.data} vectors, median search in Python, one thread"
    plot.write_text(draw(run, f"{machine['cpu']}, {machine['cpus']} CPUs", title), encoding="utf-8")
    progress(f"plot: {plot}")
    shape: dict[str, Figure] = {"vectors": args.vectors, "data": args.data, "queries": args.queries}
    with_memd = "memd" in run.found
    figures = {**shape, **(headline(run.found, args.threads[-1]) if with_memd else {}), **run.found}
    if args.json:
        figures["curves"] = {name: [[p.ef, p.recall, p.ms] for p in curve] for name, curve in run.curves.items()}
        figures["peers"] = _pins()
    report.publish("index", args, figures, TARGETS if with_memd else ())


def _contenders(names: str) -> list[Contender]:
    unknown = set(names.split(",")) - CONTENDERS.keys()
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(CONTENDERS)}")
    return [contender for name, contender in CONTENDERS.items() if name in names.split(",")]


def _pins() -> dict[str, Figure]:
    """The versions of the libraries that are compared."""
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return {name: version for name, pinned, version in (line.partition("==") for line in lines) if pinned}


if __name__ == "__main__":
    main()
