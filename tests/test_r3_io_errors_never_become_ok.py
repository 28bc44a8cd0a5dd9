"""R3: an I/O error never becomes OK.

The nth read, write, truncation or sync fails with EIO or ENOSPC, once or from then on. Whatever was answered OK must be
there when the data is opened again without the fault; what was refused must not be there; every read that was answered was
right; a failed fsync stops the daemon, because the kernel may have dropped what it could not write.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from memd_client import Client, MemdError, RetryPolicy
from memd_client.errors import Unavailable

from memd.serving import EXIT_FATAL
from tests.daemon import CLIENTS_ONLY, Daemon
from tests.faultvfs import FAULT_VARIABLE, Action, Call, Fault
from tests.reliability.forks import Forks
from tests.reliability.pool import each, result
from tests.reliability.size import scaled
from tests.reliability.tasks import Look, Run
from tests.reliability.workload import lines_of

POINTS = scaled(50)
OPS = 12
SHARES: dict[Call, float] = {"write": 0.44, "sync": 0.24, "truncate": 0.08, "read": 0.24}
"""Which calls fail, as parts of POINTS."""
REACH: dict[Call, int] = {"write": 600, "sync": 24, "truncate": 4, "read": 100}
"""About how many such calls a run makes: the failing one is chosen among them."""
STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Seen:
    fault: Fault
    run: dict[str, Any]
    look: dict[str, Any]
    answers: list[str]
    """"ok" or the reason of the error, of every write, in order."""

    @property
    def opened(self) -> bool:
        return bool(self.run["phase"] != "opening")


def _faults() -> list[Fault]:
    faults: list[Fault] = []
    for call, share in SHARES.items():
        count = max(1, round(share * POINTS / 2))
        for n in range(count):
            nth = 1 + (2 * n + 1) * REACH[call] // (2 * count)
            actions: tuple[Action, Action] = ("eio", "enospc") if call == "write" else ("eio", "eio")
            faults.append(Fault(actions[n % 2], (call,), nth))
            faults.append(Fault(actions[(n + 1) % 2], (call,), nth, persistent=True))
    return faults


@pytest.fixture(scope="module")
def seen() -> list[Seen]:
    return each(_faults(), _under)


def _under(forks: Forks, place: Path, fault: Fault) -> Seen:
    data, log = str(place / "data"), str(place / "log")
    forks.run(Run(data, log, fault.nth, ops=OPS, reads=True, fault=fault.to_json(), result=str(place / "ran")))
    forks.run(Look(data, log, str(place / "found"), resolve=False))
    entries = [json.loads(line) for line in lines_of(place / "log")]
    answers = ["ok" if "ok" in entry else entry["error"] for entry in entries if entry.keys() & {"ok", "error"}]
    return Seen(fault, result(place / "ran"), result(place / "found"), answers)


def test_no_error_is_answered_ok_and_no_read_is_wrong(seen: list[Seen]) -> None:
    assert len(seen) >= POINTS
    assert [(one.fault, one.look["problems"]) for one in seen if one.look["problems"]] == []
    missed = [one.fault for one in seen if not one.run["hits"]]
    assert len(missed) <= len(seen) // 10, f"these calls were never reached: {missed}"


def test_a_failed_fsync_stops_the_store(seen: list[Seen]) -> None:
    failed = [one for one in seen if one.fault.calls == ("sync",) and one.opened and one.run["hits_before_close"]]
    assert len(failed) >= POINTS // 10
    assert [one.fault for one in failed if not one.run["stopped"]] == []


def test_a_full_disk_refuses_one_write_and_accepts_the_next(seen: list[Seen]) -> None:
    full = [one for one in seen if one.fault.action == "enospc" and not one.fault.persistent and one.opened]
    refused = [one for one in full if "STORE_FULL" in one.answers]
    assert len(refused) >= len(full) // 2
    assert [one.fault for one in refused if one.run["stopped"] or one.answers[-1] != "ok"] == []


def test_while_writes_fail_nothing_is_acknowledged(seen: list[Seen]) -> None:
    for one in seen:
        if one.fault.persistent and one.fault.calls == ("write",) and one.opened:
            first = next((i for i, answer in enumerate(one.answers) if answer != "ok"), len(one.answers))
            assert "ok" not in one.answers[first + 4 :], f"{one.fault}: {one.answers}"  # 4: one batch of the clients


def _faulty(tmp_path: Path, fault: Fault) -> Daemon:
    environment = {"MEMD_TESTING": "1", "MEMD_TEST_VFS": "tests.faultvfs:register", FAULT_VARIABLE: fault.to_json()}
    return Daemon(tmp_path / "daemon", environment={**CLIENTS_ONLY, **environment})


@pytest.mark.parametrize("call", ["sync", "write"])
def test_the_daemon_stops_when_a_commit_fails_and_keeps_what_it_acknowledged(tmp_path: Path, call: Call) -> None:
    broken = tmp_path / "broken"
    daemon = _faulty(tmp_path, Fault("eio", (call,), switch=str(broken)))
    with daemon, Client(daemon.address, user_id="u", retry=RetryPolicy(attempts=1)) as client:
        client.remember("kept", memory_id="kept")
        broken.touch()
        with pytest.raises(Unavailable):
            client.remember("lost or not, never acknowledged", memory_id="unclear")
        assert daemon.process is not None
        assert daemon.process.wait(STOP_TIMEOUT_S) == EXIT_FATAL
        broken.unlink()
        daemon.start()
        with Client(daemon.address, user_id="u") as again:
            assert again.get("kept").content == "kept"
            again.remember("works again", memory_id="next")
            assert again.verify().ok


def test_the_daemon_refuses_writes_while_the_disk_is_full_and_reads_go_on(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    daemon = _faulty(tmp_path, Fault("enospc", ("write",), switch=str(broken)))
    with daemon, Client(daemon.address, user_id="u", session_id="s", retry=RetryPolicy(attempts=1)) as client:
        client.remember("Ada prefers tea", memory_id="tea")
        for _ in range(3):
            broken.touch()
            for write in (
                lambda: client.remember("refused", memory_id="refused"),
                lambda: client.observe("refused"),
                lambda: client.save_checkpoint("t", b"refused", expected_version=0),
            ):
                with pytest.raises(MemdError) as refused:
                    write()
                assert refused.value.reason == "STORE_FULL"
            assert client.get("tea").content == "Ada prefers tea"
            assert [hit.memory.memory_id for hit in client.recall("what does Ada prefer?").memories] == ["tea"]
            broken.unlink()
            client.update("tea", content="Ada prefers tea")
        assert [memory.memory_id for memory in client.list()] == ["tea"]
