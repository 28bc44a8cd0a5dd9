"""What Prometheus is told: every metric is documented, and background jobs say how they are doing."""

from __future__ import annotations

import re
import socket
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from memd_client import Client

from tests.daemon import Daemon

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
PATIENCE_S = 60.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def page(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=PATIENCE_S) as reply:
        return str(reply.read().decode())


def of_job(text: str, metric: str, job: str) -> float:
    found = re.search(rf'^memd_job_{metric}{{job="{job}"}} (\S+)$', text, re.MULTILINE)
    assert found, f"{metric} of {job}"
    return float(found[1])


def documented(name: str) -> bool:
    text = DOCUMENT.read_text(encoding="utf-8")
    family = re.match("memd_(compression|digests)_", name)
    return f"`{name}`" in text or (family is not None and f"`{family[0]}*`" in text)


def test_jobs_say_how_they_are_doing_and_every_metric_is_documented(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    daemon = Daemon(tmp_path / "d", arguments=["--metrics-listen", address])
    with daemon, Client(daemon.address, user_id="ada") as client:
        session = client.scoped(session_id="s")
        session.observe("remember that I prefer tea")
        session.end_session()
        until(lambda: of_job(page(address), "done_total", "promote") and of_job(page(address), "done_total", "digest"))
        until(lambda: all(job.runs for job in client.stats().jobs))
        text, jobs = page(address), {job.job: job for job in client.stats().jobs}
    for name, job in jobs.items():
        assert 0 < of_job(text, "runs_total", name) <= job.runs
        assert of_job(text, "failures_total", name) == of_job(text, "failing", name) == 0
        assert of_job(text, "seconds_total", name) >= of_job(text, "last_seconds", name) >= 0
        assert abs(of_job(text, "last_time_seconds", name) - time.time()) < 600
    assert of_job(text, "waiting", "promote") == of_job(text, "waiting", "digest") == 0
    assert "\nmemd_digests_made 1.0\n" in text
    names = {name.removesuffix("_created") for name in re.findall(r"^# TYPE (memd_\w+) ", text, re.MULTILINE)}
    assert [name for name in sorted(names) if not documented(name)] == []
