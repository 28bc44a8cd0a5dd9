"""Who is compared, and each one's process as the benchmark sees it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benches import environment
from benches.report import ROOT

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
EFS = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
FILTER_EFS = (10, 32, 64, 128, 256)
EXACT = 0
# One thread for whatever a library parallelises on its own; builds say how many they take.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class Contender:
    """``peer``: needs the environment of other people's libraries. ``exact``: a scan, which has no ef and is slow."""

    name: str
    module: str
    options: Sequence[str] = ()
    peer: bool = True
    exact: bool = False

    def efs(self, grid: Sequence[int]) -> Sequence[int]:
        """The part of a grid that makes a difference to it."""
        return (EXACT,) if self.exact else grid

    def interpreter(self) -> Path:
        """What runs it; the peers' environment is made on first use."""
        if not self.peer:
            return Path(sys.executable)
        return environment.python("index", REQUIREMENTS, "for hnswlib, usearch and faiss: half a minute")


CONTENDERS: Mapping[str, Contender] = {
    contender.name: contender
    for contender in (
        Contender("hnswlib", "with_hnswlib"),
        Contender("memd", "with_memd", peer=False),
        Contender("usearch_f16", "with_usearch", ("--dtype", "f16")),
        Contender("usearch_i8", "with_usearch", ("--dtype", "i8")),
        Contender("faiss", "with_faiss"),
        Contender("numpy", "with_numpy", peer=False, exact=True),
    )
}
"""memd next to hnswlib, whose build it is compared with: a drift of the machine has little time between them."""


class Index:
    """One contender's process with its index. None for what the library cannot do."""

    def __init__(self, contender: Contender, process: subprocess.Popen[str]) -> None:
        self.contender = contender
        self._process = process

    @classmethod
    @contextlib.contextmanager
    def started(cls, contender: Contender, rows: Path, queries: Path) -> Iterator[Self]:
        """A process that has read the queries and whose index is empty."""
        interpreter = str(contender.interpreter())
        command = [interpreter, "-m", f"benches.index.engines.{contender.module}", *contender.options]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | _ONE_THREAD
        ) as process:
            assert process.stdin is not None
            print(json.dumps({"rows": str(rows), "queries": str(queries)}), file=process.stdin, flush=True)
            yield cls(contender, process)
            process.stdin.close()

    def ask(self, do: str, **arguments: int | str | None) -> dict[str, Any] | None:
        """One command of ``engine.Worker``. RuntimeError when the process ended; its error is on standard error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # the empty answer below says so
            print(json.dumps({"do": do, **arguments}), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.contender.name} ended; its error is above")
        answer: dict[str, Any] = json.loads(line)
        return None if "unsupported" in answer else answer
