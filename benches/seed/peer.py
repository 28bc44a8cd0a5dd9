"""The hand-written pipeline seen from the benchmark: a process that is filled and asked in turn with the others."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from benches.report import progress
from benches.seed import environment

_POLL_S = 0.01
_PIPELINE = Path(__file__).with_name("pipeline.py")


class SeedPipeline:
    """Its latencies are taken inside its own process: it pays no trip over a socket, as its users do not."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @classmethod
    @contextlib.contextmanager
    def started(cls) -> Iterator[Self]:
        """The process, ready to be filled; makes its environment on first use."""
        interpreter = environment.python()
        quiet = {"HF_HUB_OFFLINE": "1", "ANONYMIZED_TELEMETRY": "False"}
        with tempfile.TemporaryDirectory(prefix="memd-seed-") as scratch, _redis(Path(scratch)) as socket:
            command = [str(interpreter), str(_PIPELINE), "--directory", scratch, "--redis-socket", str(socket)]
            with subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | quiet
            ) as process:
                pipeline = cls(process)
                pipeline._answer()
                yield pipeline
                assert process.stdin is not None
                process.stdin.close()

    def fill(self, memories: Sequence[str], events: Sequence[str]) -> None:
        """Store memories and the session's events."""
        progress(f"hand-written pipeline: storing {len(memories):,} memories")
        self._ask({"do": "fill", "memories": list(memories), "events": list(events)})

    def recall(self, queries: Sequence[str]) -> list[float]:
        """Milliseconds of each query."""
        taken: list[float] = self._ask({"do": "recall", "queries": list(queries)})["ms"]
        return taken

    def rss_mb(self) -> float:
        """Resident memory of the process, its Redis not counted."""
        return float(self._ask({"do": "rss"})["rss_mb"])

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        print(json.dumps(command), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the hand-written pipeline ended; its error is above")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextlib.contextmanager
def _redis(directory: Path) -> Iterator[Path]:
    """The Redis-compatible server at a Unix socket below ``directory``, with its own default settings otherwise."""
    socket = directory / "r.sock"
    command = [str(environment.redis_server()), "--port", "0", "--unixsocket", str(socket), "--dir", str(directory)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        while not socket.exists():
            if process.poll() is not None:
                raise RuntimeError("the Redis server did not start")
            time.sleep(_POLL_S)
        yield socket
    finally:
        process.terminate()
        process.wait()
