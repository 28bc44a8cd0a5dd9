"""What a benchmark says about itself and its figures: the machine, the versions, the table, the JSON line."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, TypeAlias

import apsw

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_SEED = 20_260_101
PACKAGES = ("memd", "grpcio", "protobuf", "onnxruntime", "tokenizers", "numpy", "apsw", "tiktoken")

Figure: TypeAlias = float | int | str | bool | Mapping[str, "Figure"] | Sequence["Figure"] | None


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should be. Missing it is reported, never hidden, and fails nothing."""

    key: str
    relation: Literal["<=", ">="]
    value: float

    def met(self, figures: Mapping[str, Figure]) -> bool:
        measured = figures[self.key]
        if not isinstance(measured, int | float):
            return False
        return measured <= self.value if self.relation == "<=" else measured >= self.value

    def __str__(self) -> str:
        return f"{self.relation} {self.value:g}"


def arguments(description: str) -> argparse.ArgumentParser:
    """A parser with the options every benchmark has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of standard output")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="of every random choice")
    return parser


def progress(text: str) -> None:
    """One line on standard error."""
    print(f"  {text}", file=sys.stderr, flush=True)


def percentile(values: Sequence[float], percent: float) -> float:
    """Nearest-rank percentile; ``values`` is not empty."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def median(values: Sequence[float]) -> float:
    return percentile(values, 50)


def publish(name: str, args: argparse.Namespace, figures: Mapping[str, Figure], targets: Sequence[Target] = ()) -> None:
    """Print the figures: as a table, or as the JSON line with machine, versions, seed and command beside them."""
    figures = {key: _rounded(value) for key, value in figures.items()}
    if not args.json:
        print(table(name, figures, targets))
        return
    whole: dict[str, Figure] = {
        "bench": name,
        **figures,
        "targets": {target.key: {"target": str(target), "met": target.met(figures)} for target in targets},
        "machine": machine(),
        "versions": versions(),
        "seed": args.seed,
        "command": " ".join(["python", "-m", f"benches.{name}", *sys.argv[1:]]),
    }
    print(json.dumps(whole), flush=True)


def table(name: str, figures: Mapping[str, Figure], targets: Sequence[Target]) -> str:
    """A line a figure; nested figures below their heading; targets and whether they are met beside them."""
    by_key = {target.key: target for target in targets}
    lines = [f"benches.{name}"]
    for key, value in figures.items():
        if isinstance(value, Mapping):
            lines.append(f"  {key}")
            lines.extend(f"    {inner:30}{_shown(part):>12}" for inner, part in value.items())
            continue
        target = by_key.get(key)
        verdict = f"   target {target}: {'met' if target.met(figures) else 'MISSED'}" if target else ""
        lines.append(f"  {key:32}{_shown(value):>12}{verdict}")
    return "\n".join(lines)


def machine() -> dict[str, Figure]:
    """What the figures were measured on; no name of the machine."""
    return {
        "cpu": _cpu_name(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def versions() -> dict[str, Figure]:
    """Python, SQLite, the packages that matter, and the commit; a package that is not installed is left out."""
    found: dict[str, Figure] = {"python": platform.python_version(), "sqlite": apsw.sqlite_lib_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    found["commit"] = _commit()
    return found


def _commit() -> str:
    """The commit of the checkout, with ``-dirty`` where tracked files differ from it; empty outside a checkout."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _rounded(value: Figure) -> Figure:
    """Four significant digits: more would claim a precision no benchmark has."""
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_rounded(part) for part in value]
    return value


def _shown(value: Figure) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
