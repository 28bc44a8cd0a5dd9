"""The README's commands run: its shell blocks in order against one daemon, its Python blocks as they stand.

``make`` lines are checked against the Makefile and not run here (``make test`` is what runs this); ``memd serve`` is the
daemon the other lines talk to.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon import Daemon

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.M | re.S)


def shell_lines() -> list[str]:
    lines = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in (raw.split("  #")[0].strip() for raw in lines) if line and not line.startswith("#")]


def environment(daemon: Daemon) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "MEMD_ADDRESS": daemon.address}


def test_readme_has_commands_to_check() -> None:
    assert len(shell_lines()) >= 5
    assert blocks("python")


def test_make_targets_named_in_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M))
    named = {word for line in shell_lines() if line.startswith("make ") for word in line.split()[1:]}
    named |= set(re.findall(r"`make ([a-z-]+)`", README))
    assert {"demo", "test"} <= named
    assert named <= targets


def test_shell_commands_run(daemon: Daemon) -> None:
    run = [line for line in shell_lines() if line.startswith("memd ") and not line.startswith("memd serve")]
    assert run
    for line in run:
        done = subprocess.run(
            line, shell=True, env=environment(daemon), capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("block", blocks("python"))
def test_python_blocks_run(daemon: Daemon, block: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block],
        env=environment(daemon),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
