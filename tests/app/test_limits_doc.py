"""docs/limits.md is generated, and every limit says why it is what it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def _generated() -> str:
    return subprocess.run(
        [sys.executable, "-m", "memd.limits"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout


def test_the_table_is_up_to_date() -> None:
    written = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    assert written == _generated(), "run: python -m memd.limits > docs/limits.md"


def test_every_limit_has_its_reason() -> None:
    rows = [line for line in _generated().splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    assert [row for row in rows if row.endswith("|  |")] == []
