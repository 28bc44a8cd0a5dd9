"""As many threads as the CPU quota allows; the exact int8 path where VNNI is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from memd.adapters.embed_onnx.cpus import int8_saturates, usable_cpus


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("quota", "cpus"), [("max 100000", 8), ("300000 100000", 3), ("150000 100000", 1), ("20000 100000", 1), ("junk", 8)]
)
def test_cgroup_v2_quota(tmp_path: Path, quota: str, cpus: int) -> None:
    write(tmp_path / "cpu.max", quota)
    assert usable_cpus(tmp_path, tmp_path / "none") == cpus


def test_the_tightest_quota_above_the_process_counts(tmp_path: Path) -> None:
    write(tmp_path / "own", "0::/pod/container\n")
    write(tmp_path / "pod" / "cpu.max", "200000 100000")
    write(tmp_path / "pod" / "container" / "cpu.max", "max 100000")
    assert usable_cpus(tmp_path, tmp_path / "own") == 2


@pytest.mark.parametrize(("quota", "cpus"), [("-1", 8), ("400000", 4)])
def test_cgroup_v1_quota(tmp_path: Path, quota: str, cpus: int) -> None:
    write(tmp_path / "own", "4:cpu,cpuacct:/pod\n3:memory:/pod\n")
    write(tmp_path / "cpu" / "pod" / "cpu.cfs_quota_us", quota)
    write(tmp_path / "cpu" / "pod" / "cpu.cfs_period_us", "100000")
    assert usable_cpus(tmp_path, tmp_path / "own") == cpus


@pytest.mark.parametrize(
    ("machine", "flags", "saturates"),
    [
        ("x86_64", "fpu avx2 avx512f", True),
        ("x86_64", "fpu avx2 avx512f avx512_vnni", False),
        ("x86_64", "fpu avx2 avx_vnni", False),
        ("x86_64", None, True),
        ("aarch64", None, False),
    ],
)
def test_vnni_detection(tmp_path: Path, machine: str, flags: str | None, saturates: bool) -> None:
    if flags is not None:
        write(tmp_path / "cpuinfo", f"processor\t: 0\nflags\t\t: {flags}\n")
    assert int8_saturates(tmp_path / "cpuinfo", machine) is saturates
