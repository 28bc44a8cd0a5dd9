"""The committed stubs are what the pinned generator makes of ``proto/`` today."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GENERATOR = ROOT / ".venv" / "protogen" / "bin" / "python"


@pytest.mark.skipif(not GENERATOR.exists(), reason="the pinned generator is not installed: run make proto")
def test_committed_stubs_are_what_the_generator_writes() -> None:
    checked = subprocess.run(
        [GENERATOR, ROOT / "proto" / "generate.py", "--check"], capture_output=True, text=True, timeout=120, check=False
    )
    assert checked.returncode == 0, checked.stderr
