"""Another embedding model for a database under daemons that serve: they stop for it, and serve with it when started again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from memd_client import Client, errors

from memd.serving import EXIT_MODEL_CHANGED
from tests.daemon import CLIENTS_ONLY, Daemon
from tests.embed.test_reembed_online import until
from tests.servers.postgres import UNSAFE, Launcher, Postgres

FP32, INT8 = "all-MiniLM-L6-v2/fp32", "all-MiniLM-L6-v2/int8-a1"
SOON_S = 120.0


@pytest.fixture
def server(postgres18: Launcher) -> Iterator[Postgres]:
    made = postgres18.server(UNSAFE)
    yield made
    made.kill()


def prefers_trains(client: Client) -> bool:
    found = client.recall("how does she like to travel?").memories
    return bool(found) and found[0].memory.content == "Ada prefers trains to planes" and found[0].relevance > 0


def test_sidecars_change_over(server: Postgres, models_root: Path, tmp_path: Path) -> None:
    url = server.url(server.create_database())
    models = {"MEMD_MODEL_DIR": str(models_root)}
    environment = {"MEMD_POSTGRES_URL": url, "MEMD_EMBEDDING_PRECISION": "int8-a1", **models, **CLIENTS_ONLY}
    daemons = [Daemon(tmp_path / name, environment=environment) for name in ("a", "b")]
    try:
        for daemon in daemons:
            daemon.start()
        with Client(daemons[0].address, timeout_s=SOON_S) as client:
            client.remember([f"note {n}: the copper kettle on shelf {n}" for n in range(40)])
            client.remember("Ada prefers trains to planes")
            client.put_procedure("deploy", "blue and green", trigger="deploying the service")
            with pytest.raises(errors.WrongState, match="memd reembed --postgres"):
                list(client.reembed(FP32))
        command = [sys.executable, "-m", "memd", "reembed", "--precision", "fp32", "--postgres", url]
        done = subprocess.run(
            command, env={**os.environ, **models}, capture_output=True, text=True, timeout=SOON_S, check=False
        )
        assert done.returncode == 0, done.stderr
        assert f"the database is of {FP32}: 42 texts embedded" in done.stdout
        for daemon in daemons:
            assert daemon.process is not None
            assert daemon.process.wait(SOON_S) == EXIT_MODEL_CHANGED
            daemon.start()
            with Client(daemon.address, timeout_s=SOON_S) as client:
                assert client.stats().embedding_model == FP32, "the old configuration does not stop it"
                until(partial(prefers_trains, client))  # its copy is made anew
                assert client.recall("we go live with the service").procedures
                client.remember(f"written by {daemon.data_dir.parent.name}")
                assert client.verify().ok
    finally:
        for daemon in daemons:
            daemon.close()
