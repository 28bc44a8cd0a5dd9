"""``memd reembed`` between two real models, and a daemon before and after."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from memd_client import Client

from tests.daemon import Daemon


def test_a_daemon_goes_on_with_the_other_model(models_root: Path, tmp_path: Path) -> None:
    environment = {"MEMD_MODEL_DIR": str(models_root)}
    daemon = Daemon(tmp_path, environment={**environment, "MEMD_EMBEDDING_PRECISION": "fp32"})
    reembed = [sys.executable, "-m", "memd", "reembed", "--precision", "int8-a1", "--data-dir", str(daemon.data_dir)]

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            reembed, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False
        )

    try:
        daemon.start()
        with Client(daemon.address) as client:
            client.remember("Ada prefers trains to planes")
            client.put_procedure("deploy", "blue and green", trigger="deploying the service")
            before = client.recall("how does she like to travel?")
        refused = run()
        assert refused.returncode == 1
        assert str(daemon.data_dir) in refused.stderr
        assert daemon.terminate() == 0
        done = run()
        assert done.returncode == 0, done.stderr
        assert "/int8-a1: 2 texts embedded" in done.stdout
        daemon.environment["MEMD_EMBEDDING_PRECISION"] = "int8-a1"
        daemon.start()
        with Client(daemon.address) as client:
            after = client.recall("how does she like to travel?")
            assert client.verify().ok
            assert client.recall("we go live with the service").procedures
        assert [hit.memory.content for hit in after.memories] == [hit.memory.content for hit in before.memories]
        assert after.memories[0].relevance != before.memories[0].relevance
        assert abs(after.memories[0].relevance - before.memories[0].relevance) < 0.1
    finally:
        daemon.close()
