"""Every benchmark, one after the other; JSON and a chart of the run go to benches/results/DATE/.

--data is the evaluation set of benches.quality, which is left out without it. --peers seed also measures the pipeline people
write by hand (2.2 GB of packages on first use). --quick: small sizes, to see that everything runs; its figures mean little.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benches import report
from benches.chart import Bar, Chart, svg
from benches.report import progress

RESULTS = Path(__file__).parent / "results"
CHART_FILE = "overview.svg"

_FULL: Mapping[str, Sequence[str]] = {
    "tokens": (),
    "compression": ("--half", "b"),
    "recall_latency": (),
    "observe": (),
    "background": (),
    "cold_start": (),
    "updates": (),
    "index": (),
}
_QUICK: Mapping[str, Sequence[str]] = {
    "compression": (),
    "tokens": ("--megabytes", "0.5", "--rounds", "1"),
    "recall_latency": ("--memories", "500", "--queries", "100", "--seconds", "1"),
    "observe": ("--events", "100", "--seconds", "1"),
    "background": ("--slices", "1", "--seconds", "1"),
    "cold_start": ("--memories", "500", "--starts", "1"),
    "updates": ("--questions", "60"),
    "index": ("--vectors", "2000", "--queries", "100", "--data", "synthetic", "--only", "numpy,memd"),
}
_QUICK_QUALITY = ("--questions", "100", "--headline")


def commands(args: argparse.Namespace) -> dict[str, list[str]]:
    """Arguments of each benchmark to run, by name."""
    chosen = {name: list(options) for name, options in (_QUICK if args.quick else _FULL).items()}
    if args.peers:
        chosen["recall_latency"] += ["--peers", args.peers]
    if args.data is not None:
        chosen["quality"] = ["--data", str(args.data), *(_QUICK_QUALITY if args.quick else ())]
    return {name: [*options, "--seed", str(args.seed)] for name, options in chosen.items()}


def run(name: str, options: Sequence[str]) -> dict[str, Any]:
    """Run one benchmark in its own process and return its JSON object; its progress shows on standard error."""
    progress(f"== benches.{name}")
    command = [sys.executable, "-m", f"benches.{name}", *options, "--json"]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=report.ROOT)
    found: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return found


def charts(found: Mapping[str, Mapping[str, Any]]) -> list[Chart]:
    """What a person wants to see of a run."""
    drawn: list[Chart] = []
    if recall := found.get("recall_latency"):
        bars = [
            Bar("floor: gRPC echo + model", recall["floor_ms"], "floor"),
            Bar("memd Recall", recall["p50_ms"]),
            Bar("memd Recall, p99", recall["p99_ms"]),
            Bar("memd Recall, query seen before", recall["cached_p50_ms"]),
        ]
        if "seed_p50_ms" in recall:
            bars.append(Bar("written by hand, p50", recall["seed_p50_ms"], "other"))
        drawn.append(Chart(f"Recall over {recall['memories']:,} memories", "ms", "less is better", bars))
    if observe := found.get("observe"):
        bars = [
            Bar("floor: echo + fsynced insert", observe["floor_ms"], "floor"),
            Bar("memd Observe", observe["p50_ms"]),
        ]
        drawn.append(Chart("Observe, one writer", "ms", "less is better", bars))
        bars = [Bar("gRPC echo", observe["echo_per_s"], "floor"), Bar("memd Observe", observe["events_per_s"])]
        drawn.append(Chart(f"Observe, {observe['writers']} writers", "events/s", "more is better", bars))
    if cold := found.get("cold_start"):
        bars = [Bar("after a stop", cold["ready_after_stop_s"]), Bar("after SIGKILL", cold["ready_after_kill_s"])]
        drawn.append(Chart(f"Spawn to first recall, {cold['memories']:,} memories", "s", "less is better", bars))
    if tokens := found.get("tokens"):
        bars = [Bar("tiktoken", tokens["tiktoken_mb_per_s"], "other"), Bar("memd", tokens["mb_per_s"])]
        drawn.append(Chart("Exact token counts, one thread", "MB/s", "more is better", bars))
    if (index := found.get("index")) and "memd" in index:
        names = [name for name in index["curves"] if index[name].get("ms_p50_at_98") is not None]
        bars = [Bar(name, index[name]["ms_p50_at_98"], *(() if name == "memd" else ("other",))) for name in names]
        drawn.append(Chart(f"Search {index['vectors']:,} vectors at recall .98", "ms", "less is better", bars))
    if quality := found.get("quality"):
        bars = [Bar(f"recall at {k}", 100 * quality[f"recall_at_{k}"]) for k in (5, 10, 20)]
        drawn.append(Chart("Evidence found", "%", "more is better", bars))
    if updates := found.get("updates"):
        keys = {"value of now first": "now_first", "value of then first": "as_of_first"}
        bars = [Bar(label, 100 * updates[key]) for label, key in keys.items()]
        drawn.append(Chart("Facts that changed", "%", "more is better", bars))
    return drawn


def missed(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Targets that were not met, in words."""
    return [
        f"{name}: {key} = {figures[key]}, target {target['target']}"
        for name, figures in found.items()
        for key, target in figures["targets"].items()
        if not target["met"]
    ]


def main() -> None:
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path, help="data set for benches.quality")
    parser.add_argument("--peers", choices=["seed"])
    parser.add_argument("--output", type=Path, help="directory for the results; default benches/results/DATE")
    args = parser.parse_args()
    output = args.output or RESULTS / datetime.now(UTC).strftime("%Y-%m-%d")
    found = {name: run(name, options) for name, options in commands(args).items()}
    output.mkdir(parents=True, exist_ok=True)
    for name, figures in found.items():
        (output / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    machine = next(iter(found.values()))["machine"]
    heading = f"{machine['cpu']}, {machine['cpus']} CPUs"
    (output / CHART_FILE).write_text(svg(heading, charts(found)), encoding="utf-8")
    if args.json:
        print(json.dumps(found))
        return
    for name, figures in found.items():
        hidden = ("bench", "targets", "machine", "versions", "seed", "command")
        print(report.table(name, {key: value for key, value in figures.items() if key not in hidden}, ()))
    print("\n".join(f"MISSED {line}" for line in missed(found)) or "every target met")


if __name__ == "__main__":
    main()
