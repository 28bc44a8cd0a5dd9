"""Another embedding model under a daemon that serves: found before, during and after, whatever is written meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from memd_client import AsyncClient, Client, ReembedProgress, errors

from memd.adapters.embed_onnx import OnnxEmbedder
from memd.adapters.sqlite import verify_offline
from memd.adapters.sqlite.schema import frozen_model
from tests.daemon import CLIENTS_ONLY, Daemon
from tests.reliability.size import scaled

FP32, INT8 = "all-MiniLM-L6-v2/fp32", "all-MiniLM-L6-v2/int8-a1"
NOTES = 200
SOON_S = 120.0
KILLS = scaled(5)


@pytest.fixture
def daemon(models_root: Path, tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path, environment={"MEMD_MODEL_DIR": str(models_root), **CLIENTS_ONLY})
    try:
        yield made
    finally:
        made.close()


def fill(client: Client, count: int = NOTES) -> None:
    for start in range(0, count, 50):
        client.remember(
            [f"note {n}: the ferry to island {n} leaves from pier {n % 7}" for n in range(start, start + 50)]
        )
    client.remember("Ada prefers trains to planes")
    client.put_procedure("deploy", "blue and green", trigger="deploying the service")


def travels(client: Client) -> float:
    """How near the one memory is that answers."""
    found = client.recall("how does she like to travel?").memories[0]
    assert found.memory.content == "Ada prefers trains to planes"
    return found.relevance


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def memd(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "memd", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=SOON_S, check=False)


def vectors(daemon: Daemon, table: str = "embedding") -> dict[str, bytes]:
    with closing(apsw.Connection(str(daemon.data_dir / "memd.db"), flags=apsw.SQLITE_OPEN_READONLY)) as database:
        sql = f"SELECT content, vectors FROM memory JOIN {table} ON memory_pk = pk"
        return {str(content): bytes(found) for content, found in database.execute(sql).fetchall()}  # type: ignore[arg-type]


def test_it_serves_before_during_and_after(daemon: Daemon) -> None:
    daemon.start()
    with Client(daemon.address, timeout_s=SOON_S) as client:
        fill(client)
        before = travels(client)
        old = vectors(daemon)
        phases = set()
        for step, progress in enumerate(client.reembed(FP32)):
            phases.add(progress.phase)
            assert progress.embedding_model == FP32
            travels(client)
            client.remember(f"written meanwhile {step}")
        assert progress.phase == "done"
        assert "embedding" in phases
        stats = client.stats()
        assert (stats.embedding_model, stats.reembedding) == (FP32, None)
        assert 0 < abs(travels(client) - before) < 0.1
        assert client.recall("we go live with the service").procedures
        assert client.verify().ok
        new = vectors(daemon)
        assert all(new[content] != vector for content, vector in old.items())
        until(lambda: not vectors(daemon, "embedding_next"))
        after = travels(client)
    daemon.restart()
    with Client(daemon.address) as client:
        assert client.stats().embedding_model == FP32, "the store says which model, where the configuration does not"
        assert travels(client) == after
        assert client.verify().ok


def test_no_write_is_left_with_the_old_model(daemon: Daemon, load: Callable[..., OnnxEmbedder]) -> None:
    """Writers all the time, over the switch: what they stored is of the new model, in the rows and in the index."""
    daemon.start()
    over = threading.Event()
    failures: list[BaseException] = []

    def write(writer: int) -> None:
        rng = random.Random(writer)
        try:
            with Client(daemon.address, timeout_s=SOON_S) as own:
                for n in range(100_000):
                    if over.is_set():
                        return
                    own.remember(f"writer {writer} saw {rng.randrange(10**9)}", memory_id=f"w{writer}-{n % 40}")
                    own.update(f"w{writer}-{rng.randrange(n % 40 + 1)}", tags=[str(n)])
        except errors.MemdError as exc:
            failures.append(exc)

    with Client(daemon.address, timeout_s=SOON_S) as client:
        fill(client)
        writers = [threading.Thread(target=write, args=(writer,)) for writer in range(2)]
        for thread in writers:
            thread.start()
        phases = [progress.phase for progress in client.reembed(FP32)]
        over.set()
        for thread in writers:
            thread.join()
        assert phases[-1] == "done"
        assert not failures
        assert client.verify().ok
        stored = vectors(daemon)
        made = asyncio.run(load("fp32").memories(list(stored)))
        assert stored == {text: b"".join(windows) for text, windows in zip(stored, made, strict=True)}
        for text in random.Random(3).sample(sorted(stored), 20):
            hit = client.recall(text).memories[0]
            assert (hit.memory.content, round(hit.relevance, 4)) == (text, 1.0)


def test_killed_anywhere_it_goes_on_by_itself(daemon: Daemon) -> None:
    """In both directions, as often as there are kills to give; a start after each."""
    daemon.start()
    rng, kills, towards = random.Random(11), 0, FP32
    with Client(daemon.address, timeout_s=SOON_S) as client:
        fill(client)
        while kills < KILLS:
            with contextlib.suppress(errors.Unavailable):
                for progress in client.reembed(towards):
                    if rng.random() < 0.5 or progress.phase == "switching":
                        time.sleep(rng.uniform(0, 0.5))
                        daemon.kill()
                        break
            if daemon.running:
                towards = INT8 if towards == FP32 else FP32
                continue
            kills += 1
            assert verify_offline(daemon.data_dir) == []
            model = frozen(daemon)
            assert model in (FP32, INT8)
            daemon.start()
            travels(client)
            assert client.verify().ok
        assert [progress.phase for progress in client.reembed(towards)][-1] == "done"
        assert client.stats().embedding_model == towards
        assert client.verify().ok
        assert len(vectors(daemon)) == NOTES + 1


def frozen(daemon: Daemon) -> str:
    with closing(apsw.Connection(str(daemon.data_dir / "memd.db"))) as database:
        model = frozen_model(database)
    assert model is not None
    return model.model_id


def begun_and_killed(daemon: Daemon, client: Client) -> None:
    """A store that is on its way, some of the other embeddings made."""
    while True:
        for _ in client.reembed(FP32):
            if vectors(daemon, "embedding_next"):
                daemon.kill()
                break
        if not daemon.running and frozen(daemon) == INT8:
            return
        daemon.restart()
        list(client.reembed(INT8))


def test_forgotten_meanwhile_leaves_nothing_behind(daemon: Daemon, models_root: Path, tmp_path: Path) -> None:
    daemon.start()
    with Client(daemon.address, timeout_s=SOON_S) as client:
        fill(client)
        begun_and_killed(daemon, client)
        content, vector = min(vectors(daemon, "embedding_next").items())
        only = shutil.copytree(models_root, tmp_path / "models", ignore=lambda _, names: {"fp32"} & set(names))
        daemon.environment["MEMD_MODEL_DIR"] = str(only)  # so that it stays on its way
        daemon.start()
        way = client.stats().reembedding
        assert way is not None
        memory_id = next(one.memory_id for one in client.list() if one.content == content)
        client.forget(memory_ids=[memory_id])
        client.update(client.remember("Ada prefers trains to planes").memories[0].memory_id, content="Ada walks")
        assert not {content, "Ada prefers trains to planes", "Ada walks"} & vectors(daemon, "embedding_next").keys()
        pieces = [content.encode(), *(vector[at : at + 16] for at in range(0, len(vector), 16))]
        until(lambda: not any(piece in path.read_bytes() for path in files(daemon) for piece in pieces))
        daemon.terminate()
        daemon.environment["MEMD_MODEL_DIR"] = str(models_root)
        daemon.start()
        until(lambda: client.stats().embedding_model == FP32)
        assert client.recall("how does she get around?").memories[0].memory.content == "Ada walks"
        assert client.verify().ok


def files(daemon: Daemon) -> list[Path]:
    return [path for path in daemon.data_dir.rglob("*") if path.is_file()]


def test_cancelled_everything_is_as_it_was(daemon: Daemon, models_root: Path, tmp_path: Path) -> None:
    daemon.start()
    with Client(daemon.address, timeout_s=SOON_S) as client:
        fill(client)
        before = vectors(daemon)
        begun_and_killed(daemon, client)
        only = shutil.copytree(models_root, tmp_path / "models", ignore=lambda _, names: {"fp32"} & set(names))
        daemon.environment["MEMD_MODEL_DIR"] = str(only)
        daemon.start()
        with pytest.raises(errors.WrongState, match="fp32"):
            list(client.reembed(INT8))
        client.cancel_reembed()
        until(lambda: not vectors(daemon, "embedding_next"))
        assert (client.stats().embedding_model, client.stats().reembedding) == (INT8, None)
        assert vectors(daemon) == before
        with pytest.raises(errors.WrongState):
            client.cancel_reembed()
        with pytest.raises(errors.Unavailable, match="memd model install"):
            list(client.reembed(FP32))
        with pytest.raises(errors.InvalidArgument):
            list(client.reembed("fp64"))
        assert [progress.phase for progress in client.reembed(INT8)] == ["done"], "it is of that model already"
        assert client.verify().ok


def test_the_command_and_an_old_configuration(daemon: Daemon) -> None:
    daemon.environment["MEMD_EMBEDDING_PRECISION"] = "int8-a1"
    daemon.start()
    with Client(daemon.address, timeout_s=SOON_S) as client:
        fill(client, 50)
        done = memd("reembed", "--precision", "fp32", "--address", daemon.address)
        assert (done.returncode, done.stdout.strip()) == (0, f"the daemon serves with {FP32}"), done.stderr
        assert "texts" in done.stderr
        cancelled = memd("reembed", "--cancel", "--address", daemon.address)
        assert (cancelled.returncode, cancelled.stdout) == (1, "")
        daemon.restart()
        assert client.stats().embedding_model == FP32
        assert "correct the configuration" in daemon.log_tail()
        travels(client)
    assert daemon.terminate() == 0
    assert memd("reembed", "--precision", "int8-a1", "--cancel", "--offline").returncode == 2


async def test_the_async_client_does_the_same(daemon: Daemon) -> None:
    daemon.start()
    async with AsyncClient(daemon.address, timeout_s=SOON_S) as client:
        await client.remember("Ada prefers trains to planes")
        told = [progress async for progress in client.reembed(FP32)]
        assert told[-1] == ReembedProgress(FP32, "done", 1, 1)
        with pytest.raises(errors.WrongState):
            await client.cancel_reembed()
