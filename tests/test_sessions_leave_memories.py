"""What a session leaves behind, over a real daemon: known elsewhere soon, and once, however often the daemon is killed."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from memd_client import Client, LifecycleRun, errors

from tests.daemon import Daemon
from tests.reliability.size import scaled

KILLS = scaled(5)
WITHIN_S = 30.0


def _memories(client: Client) -> list[str]:
    return [one.content for one in client.list()]


def _wait_for(client: Client, said: set[str]) -> list[str]:
    until = time.monotonic() + WITHIN_S
    while not said <= set(found := _memories(client)) and time.monotonic() < until:
        time.sleep(0.02)
    return found


def test_killed_in_the_middle_nothing_is_lost_and_nothing_doubled(tmp_path: Path) -> None:
    drawn, said = random.Random(7), set[str]()
    with Daemon(tmp_path) as daemon:
        for n in range(KILLS):
            with Client(daemon.address, user_id="ada", session_id=f"s{n}") as client:
                for k in range(5):
                    text = f"remember that rule {n}-{k} of the house holds"
                    client.observe(text)
                    said.add(text)
                time.sleep(drawn.random() * 0.5)
            daemon.kill()
            daemon.start()
        with Client(daemon.address, user_id="ada") as client:
            found = _wait_for(client, said)
            promoted = [one for one in found if one in said]
            assert sorted(promoted) == sorted(said)
            assert client.verify().ok


def test_jobs_can_be_run_by_hand(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon, Client(daemon.address, user_id="ada", session_id="s") as client:
        client.observe("remember that I prefer tea")
        while client.run_lifecycle("promote", dry_run=True).examined:
            client.run_lifecycle("promote")
        assert _memories(client) == ["remember that I prefer tea"]
        assert client.run_lifecycle() == LifecycleRun(0, 0), "nothing is due"
        with pytest.raises(errors.InvalidArgument, match="promote, digest, sweep"):
            client.run_lifecycle("vacuum")
