"""Log lines carry no content; background work does not die silently."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest

from memd import log, tasks
from memd.domain.errors import ConfigError
from memd.tasks import Supervisor
from memd.testing_hooks import install

CANARY = "CANARY-7f3a"


@pytest.fixture
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def _raised() -> BaseException:
    try:
        try:
            raise KeyError(CANARY)
        except KeyError as exc:
            raise ValueError(f"bad text {CANARY}") from exc
    except ValueError as exc:
        return exc


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("form", ["plain", "json"])
def test_an_exception_shows_classes_and_places_and_never_its_text(form: str) -> None:
    stream = io.StringIO()
    log.configure("info", form, stream)
    logging.getLogger("memd.x").error("failed", exc_info=_raised(), extra={"fields": {"method": "M"}})
    logging.getLogger("elsewhere").warning("lost %s", CANARY, exc_info=_raised())
    written = stream.getvalue()
    assert CANARY not in written
    assert "builtins.ValueError" in written
    assert "builtins.KeyError" in written
    assert "test_log_and_tasks.py" in written
    assert ("method=M" if form == "plain" else '"method": "M"') in written


@pytest.mark.usefixtures("restored")
def test_a_name_cannot_forge_a_line() -> None:
    stream = io.StringIO()
    log.configure("info", "plain", stream)
    logging.getLogger("memd.x").info("hello", extra={"fields": {"name": "a\n2026 ERROR forged"}})
    assert len(stream.getvalue().splitlines()) == 1


@pytest.mark.usefixtures("restored")
def test_json_lines_are_json() -> None:
    stream = io.StringIO()
    log.configure("info", "json", stream)
    logging.getLogger("memd.x").info("ready", extra={"fields": {"ready_s": 0.5}})
    line = json.loads(stream.getvalue())
    assert (line["message"], line["level"], line["ready_s"]) == ("ready", "info", 0.5)


@pytest.mark.usefixtures("restored")
def test_a_failure_nobody_waits_for_is_logged_without_its_text() -> None:
    stream = io.StringIO()
    log.configure("info", "plain", stream)

    async def forget_a_failure() -> None:
        asyncio.get_running_loop().set_exception_handler(log.on_loop_error)
        asyncio.get_running_loop().call_exception_handler({"message": CANARY, "exception": _raised()})

    asyncio.run(forget_a_failure())
    assert "unhandled error" in stream.getvalue()
    assert CANARY not in stream.getvalue()


async def test_a_loop_goes_on_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "FIRST_BACKOFF_S", 0.001)
    runs: list[int] = []
    done = asyncio.Event()

    async def work() -> None:
        runs.append(len(runs))
        if len(runs) < 3:
            raise ValueError("again")
        done.set()

    supervisor = Supervisor()
    supervisor.every("test", 60.0, work)
    await asyncio.wait_for(done.wait(), 5)
    await supervisor.close()
    assert len(runs) == 3


async def test_close_ends_everything_and_nothing_starts_after() -> None:
    supervisor = Supervisor()
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    supervisor.every("sleeper", 60.0, work)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await supervisor.close()
    assert ended.is_set()
    with pytest.raises(RuntimeError):
        supervisor.every("late", 1.0, work)


def test_fault_hooks_need_the_switch() -> None:
    assert install({}).vfs is None
    with pytest.raises(ConfigError, match="needs MEMD_TESTING=1"):
        install({"MEMD_TEST_VFS": "os:getcwd"})
    with pytest.raises(ConfigError, match="needs MEMD_TESTING=1"):
        install({"MEMD_TEST_PLANT": "os:getcwd", "MEMD_TESTING": "yes"})
    assert install({"MEMD_TEST_VFS": "os:getcwd", "MEMD_TESTING": "1"}).vfs
    with pytest.raises(ConfigError, match="is not there"):
        install({"MEMD_TEST_PLANT": "os:no_such_thing", "MEMD_TESTING": "1"})
