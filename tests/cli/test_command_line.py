"""The command line without a daemon: help, usage, plain errors, what it imports."""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from memd_client import F

from memd.cli import COMMANDS, main, values
from memd.cli.errors import CommandError
from memd.cli.output import plain, printable
from memd.cli.parser import build_parser

CLIENT_COMMANDS: dict[str, list[str]] = {
    "recall": ["q"],
    "remember": ["x"],
    "observe": ["x", "--session", "s"],
    "forget": ["m1"],
    "list": [],
    "get": ["m1"],
    "tiers": [],
    "stats": [],
    "health": [],
    "verify": [],
    "lifecycle": ["run"],
    "namespace": ["show"],
    "session": ["show", "--session", "s"],
}


def commands() -> dict[str, argparse.ArgumentParser]:
    parser = build_parser()
    (action,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


def test_every_command_has_its_module() -> None:
    assert commands().keys() == COMMANDS.keys()
    for name in COMMANDS.keys() - {"serve"}:  # serve is shown by the end-to-end tests
        assert callable(importlib.import_module(COMMANDS[name]).run)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_it_does_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert f"memd {name}" in shown.split("examples:")[1]
    described = commands()[name]
    for action in described._actions:
        assert action.help, f"{name} {action.dest} has no help"


def test_help_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "memd serve" in capsys.readouterr().out


@pytest.mark.parametrize("name", [n for n in COMMANDS if n not in ("serve", "model")])
def test_what_prints_data_has_json(name: str) -> None:
    assert "--json" in commands()[name].format_help()


@pytest.mark.parametrize("name", CLIENT_COMMANDS)
def test_no_daemon_is_one_plain_line(name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/none.sock"
    assert main([name, *CLIENT_COMMANDS[name], "--address", address]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == f"memd: no daemon answers at {address}; start one with `memd serve`\n"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["list", "--address", "nonsense"], "address"),
        (["list", "--timeout", "0"], "timeout"),
        (["list", "--limit", "-1"], "--limit is 0 or more"),
        (["recall", "x", "--limit", "-1"], "--limit is 0 or more"),
        (["recall", "x", "--max-episodes=-3"], "--max-episodes is 0 or more"),
        (["recall", "x", "--token-budget", "-1"], "--token-budget is 0 or more"),
        (["list", "--where", "speaker"], "FIELD=VALUE"),
        (["list", "--as-of", "yesterday"], "ISO 8601"),
        (["observe", "x"], "--session"),
        (["remember", "x", "--metadata", "novalue"], "KEY=VALUE"),
        (["remember", "-", "--id", "a"], "one text"),
        (["forget"], "one way"),
        (["forget", "m1", "--everything"], "one way"),
        (["forget", "m1", "--all-users"], "--everything"),
        (["verify", "--data-dir", "x"], "--offline"),
        (["lifecycle", "status", "sweep"], "no job"),
        (["lifecycle", "run", "retention", "--max-age", "90d"], "--dry-run"),
        (["lifecycle", "run", "retention", "--dry-run", "--max-age", "90 days"], "duration"),
        (["namespace", "set"], "at least one"),
        (["namespace", "show", "--max-count", "3"], "show takes none"),
        (["session", "show"], "--session"),
        (["session", "set", "--session", "s"], "at least one"),
        (["session", "show", "--session", "s", "--reset"], "show takes none"),
        (["session", "set", "--session", "s", "--compress-keep", "-1"], "--compress-keep is 0 or more"),
        (["model", "install", "--precision", "fp7"], "fp7"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMD_ADDRESS", "/nonexistent/s.sock")
    assert main(argv) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("memd: ")
    assert shown.err.count("\n") == 1
    assert said in shown.err


def test_an_unreadable_token_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--token-file", "/nonexistent/token"]) == 1
    assert "/nonexistent/token cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "heavy"),
    [
        (["--version"], ["grpc", "memd_client", "onnxruntime", "apsw", "numpy", "asyncio"]),
        (
            ["recall", "x", "--address", "/nonexistent/s.sock"],
            ["onnxruntime", "apsw", "numpy", "memd._core", "tokenizers"],
        ),
    ],
)
def test_light_commands_import_nothing_heavy(argv: list[str], heavy: list[str]) -> None:
    program = (
        "import sys\nfrom memd.cli import main\n"
        f"try: main({argv!r})\nexcept SystemExit: pass\n"
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_closed_pipe_is_not_a_traceback() -> None:
    program = "import sys; from memd.cli import main; sys.exit(main(['version']))"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=write, stderr=subprocess.PIPE, timeout=60, check=False
    )
    os.close(write)
    assert done.returncode == 1
    assert done.stderr == b""


def test_version_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["memd"]


def test_values_are_read_as_their_kind() -> None:
    read = values.metadata(["a=3", "b=-0.5", "c=true", "d=x=y", 'e="7"', "f=", "g=1e3", "h=v1.2"])
    assert read == {"a": 3, "b": -0.5, "c": True, "d": "x=y", "e": "7", "f": "", "g": 1000.0, "h": "v1.2"}
    assert isinstance(read["a"], int)
    assert read["c"] is True


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("metadata.amount>=100", F.metadata["amount"] >= 100),
        ("speaker=7", F.speaker == "7"),
        ("speaker != Ada Lovelace", F.speaker != "Ada Lovelace"),
        ("pinned=true", F.pinned == True),  # noqa: E712
        ("importance<0.5", F.importance < 0.5),
        ("event_time<=2024-05-01T00:00:00+00:00", F.event_time <= datetime(2024, 5, 1, tzinfo=UTC)),
        ("metadata.a=b=c", F.metadata["a"] == "b=c"),
    ],
)
def test_conditions_become_filters(word: str, expected: Any) -> None:
    chosen = values.chosen(argparse.Namespace(tag=[], where=[word]))
    assert chosen is not None
    assert chosen.proto == expected.proto


def test_tags_and_conditions_must_all_hold() -> None:
    chosen = values.chosen(argparse.Namespace(tag=["a", "b"], where=["position>1"]))
    assert chosen is not None
    assert chosen.proto == ((F.tag == "a") & (F.tag == "b") & (F.position > 1)).proto
    assert values.chosen(argparse.Namespace(tag=[], where=[])) is None


def test_lines_of_stdin_come_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n\ntwo\r\nthree"))
    assert list(values.batches("-", 2)) == [["one", "two"], ["three"]]
    assert list(values.batches("a\nb", 2)) == [["a\nb"]]
    assert list(values.batches("", 2)) == [[""]], "an empty text is the daemon's to refuse"


def test_bad_conditions_are_refused() -> None:
    for word in ("=x", "a b=c", ""):
        with pytest.raises(CommandError):
            values.chosen(argparse.Namespace(tag=[], where=[word]))


def test_json_has_every_kind() -> None:
    made = plain(
        {"t": datetime(2024, 5, 1, tzinfo=UTC), "d": timedelta(milliseconds=1500), "b": b"\x00", "l": (1, "x")}
    )
    assert made == {"t": "2024-05-01T00:00:00+00:00", "d": 1.5, "b": "AA==", "l": [1, "x"]}
    json.dumps(made)


def test_stored_text_cannot_drive_the_terminal() -> None:
    assert printable("a\x1b[2Jb\nc\td é") == "a\\x1b[2Jb\nc\td é"
