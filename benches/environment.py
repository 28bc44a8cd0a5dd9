"""Environments of their own for what memd is compared with: made on first use from pinned versions."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

from benches.report import ROOT, progress

_STAMP = "made-from.sha256"


def python(name: str, requirements: Path, announce: str, finish: Callable[[Path], None] | None = None) -> Path:
    """The interpreter of ``.venv/NAME``, which is made or made anew when it is missing or of other requirements.

    ``announce``: said before the wait. ``finish``: what is left to do after the packages are there, given the interpreter.
    """
    directory = ROOT / ".venv" / name
    interpreter = directory / "bin" / "python"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    stamp = directory / _STAMP
    if not stamp.exists() or stamp.read_text(encoding="ascii") != wanted:
        progress(f"making .venv/{name} {announce}")
        venv.create(directory, clear=True, with_pip=True)
        pip = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--requirement", str(requirements)], check=True, stdout=sys.stderr)
        if finish is not None:
            finish(interpreter)
        stamp.write_text(wanted, encoding="ascii")
    return interpreter
