"""The command line and the examples against a real daemon."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for the whole file; every test has its own user."""
    daemon = Daemon(tmp_path_factory.mktemp("served"))
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def memd(served: Daemon, request: pytest.FixtureRequest) -> Run:
    """Runs ``memd COMMAND`` as this test's user."""

    def run(command: str, *words: str, stdin: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
        done = _process([sys.executable, "-m", "memd", command, "--user", request.node.name, *words], served, stdin)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


def _process(command: list[str], daemon: Daemon, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MEMD_ADDRESS": daemon.address}
    return subprocess.run(
        command, input=stdin, env=environment, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )


def _json(done: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(done.stdout)


def test_remember_then_recall(memd: Run) -> None:
    memd("remember", "Ada prefers trains to planes", "--tag", "travel", "--metadata", "weight=3")
    shown = memd("recall", "how does she travel?")
    assert "Ada prefers trains to planes" in shown.stdout
    assert "tokens in" in shown.stderr
    assert "semantic" in shown.stderr
    answer = _json(memd("recall", "how does she travel?", "--json", "--explain", "--where", "metadata.weight>=3"))
    assert answer["memories"][0]["memory"]["metadata"] == {"weight": 3}
    assert answer["memories"][0]["parts"]["vector"] >= 0
    assert _json(memd("recall", "train", "--json", "--where", "metadata.weight>3"))["memories"] == []


def test_stdin_is_a_memory_a_line(memd: Run) -> None:
    ids = memd("remember", "-", stdin="".join(f"fact {i}\n" for i in range(70))).stdout.split()
    assert len(set(ids)) == 70
    assert len(_json(memd("list", "--limit", "0", "--json"))) == 70
    few = memd("list", "--limit", "5")
    assert len(few.stdout.splitlines()) == 5
    assert "more than 5" in few.stderr


def test_one_memory_whole(memd: Run) -> None:
    memd("remember", "first", "--id", "m1", "--speaker", "Ada")
    memd("remember", "second", "--id", "m1", "--speaker", "Ada")
    shown = memd("get", "m1").stdout
    assert "second" in shown
    assert "Ada" in shown
    assert [m["content"] for m in _json(memd("get", "m1", "--revisions", "--json"))] == ["second", "first"]
    assert memd("get", "nowhere", code=1).stderr.startswith("memd: ")


def test_observe_and_recall_a_session(memd: Run) -> None:
    memd("observe", "--session", "s1", "Book me a trip to Lyon, please")
    memd("observe", "--session", "s1", "-", "--kind", "tool_call", "--tool", "search", stdin="one\ntwo\n")
    shown = memd("recall", "--session", "s1", "trip").stdout
    assert "## Current session" in shown
    assert "Book me a trip to Lyon, please" in shown


def test_a_session_has_settings_of_its_own(memd: Run) -> None:
    shown = memd("session", "show", "--session", "s1")
    assert (shown.stdout, "namespace's settings hold" in shown.stderr) == ("", True)
    done = memd("session", "set", "--session", "s1", "--working-max-tokens", "32000", "--no-compress")
    assert done.stdout == "working max tokens  32000\ncompress            False\n"
    memd("session", "set", "--session", "s1", "--compress-keep", "7", "--working-max-tokens", "0")
    settings = _json(memd("session", "show", "--session", "s1", "--json"))
    assert {name: value for name, value in settings.items() if value is not None} == {
        "compress": False,
        "compress_keep": 7,
    }
    memd("session", "set", "--session", "s1", "--compress-at", "2", code=1)
    assert not any(_json(memd("session", "set", "--session", "s1", "--reset", "--json")).values())


def test_forget_prints_a_receipt(memd: Run) -> None:
    memd("remember", "tea", "--tag", "t")
    assert "would be deleted" in memd("forget", "--tag", "t", "--dry-run").stdout
    assert _json(memd("forget", "--tag", "t", "--json"))["counts"]["memories"] == 1
    assert memd("list").stdout == ""
    memd("remember", "coffee")
    assert "receipt" in memd("forget", "--everything").stdout


def test_status_commands(memd: Run, served: Daemon) -> None:
    table = memd("tiers").stdout
    assert [line.split()[0] for line in table.splitlines()] == ["tier", "working", "episodic", "semantic", "procedural"]
    assert len(_json(memd("tiers", "--json"))) == 4
    assert _json(memd("stats", "--json"))["version"]
    assert "embedding model" in memd("stats").stdout
    assert memd("health").stdout == "serving\n"
    assert _json(memd("health", "--json"))["address"] == served.address
    assert _json(memd("verify", "--json"))["ok"] is True
    assert memd("recall", "x", "--limit", "10000000", code=1).stderr.count("\n") == 1


def test_the_example_agent_goes_on_where_it_stopped(served: Daemon) -> None:
    script = [sys.executable, "examples/agent_loop.py"]
    first = _process([*script, "--stop-after", "2"], served)
    assert first.returncode == 1
    assert "stopped after turn 2" in first.stderr
    second = _process(script, served)
    assert second.returncode == 0, second.stderr
    assert "going on after turn 2" in second.stdout
    # what the first run learned decides what the second one does
    assert "train to Lyon" in second.stdout
    assert "no train, but a plane to Nice" in second.stdout
    assert "You told me: I am allergic to peanuts." in second.stdout
    again = _process(script, served)
    assert "going on" not in again.stdout, "the finished task left no checkpoint"
    assert again.returncode == 0, again.stderr


def test_verify_offline_takes_the_lock(tmp_path: Path) -> None:
    with Daemon(tmp_path / "d") as daemon:
        command = [sys.executable, "-m", "memd", "verify", "--offline", "--data-dir", str(daemon.data_dir)]
        busy = _process(command, daemon)
        assert busy.returncode == 1
        assert busy.stderr.startswith("memd: ")
        daemon.terminate()
        assert _process(command, daemon).returncode == 0
        assert _process([*command[:-1], str(tmp_path / "nothing")], daemon).returncode == 1
