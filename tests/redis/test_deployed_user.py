"""The Redis user that the deployments name may do everything memd asks for, and what is forgotten leaves the disk."""

from __future__ import annotations

import re
import time
from pathlib import Path

from memd_client import Client

from tests.daemon import Daemon
from tests.redis.test_erasure import CANARY, PLAIN, WITHIN_S, holds
from tests.servers.redis import RedisServer

ROOT = Path(__file__).parents[2]
PLACES = ("docs/redis.md", "deploy/kubernetes/servers.yaml")
_RULE = re.compile(r"ACL SETUSER memd on >PASSWORD (~memd:\* [^\n`]+)")


def rights() -> str:
    """The same words in every place."""
    found: set[str] = {_RULE.findall((ROOT / place).read_text(encoding="utf-8"))[0].strip() for place in PLACES}
    (rule,) = found
    return rule


def test_it_may_do_all_that_is_asked_and_a_forget_reaches_the_file(binary: Path, tmp_path: Path) -> None:
    with RedisServer(binary, tmp_path / "redis", PLAIN) as server:
        server.send("ACL", "SETUSER", "memd", "on", ">secret", *rights().split())
        url = f"redis://memd:secret@127.0.0.1:{server.port}"
        environment = {"MEMD_REDIS_URL": url, "MEMD_CHECKPOINTS_STORE": "redis"}
        with (
            Daemon(tmp_path / "daemon", environment=environment) as daemon,
            Client(daemon.address, user_id="u") as memd,
        ):
            use(memd.scoped(session_id="s"))
            receipt = memd.forget(everything=True, task_ids=["task"])
            beyond = " ".join(receipt.out_of_reach)
            assert "BGREWRITEAOF" in beyond
            assert "not possible" not in beyond
            until_gone(server)
        assert server.send("ACL", "LOG") == [], "something was refused"


def use(memd: Client) -> None:
    """Everything that is kept in Redis."""
    memd.observe(CANARY, role="user")
    memd.observe("a second turn", role="assistant")
    assert memd.recall("anything").working
    assert [event.content for event in memd.episodes()][-1] == CANARY
    assert len(list(memd.sessions())) == 1
    memd.clear_working_memory()
    memd.end_session()
    memd.save_checkpoint("task", CANARY.encode(), expected_version=0)
    assert memd.load_checkpoint("task").state == CANARY.encode()
    assert [one.version for one in memd.list_checkpoints(task_id="task")] == [1]
    memd.delete_checkpoint("task")
    memd.save_checkpoint("task", CANARY.encode())
    memd.stats()


def until_gone(server: RedisServer) -> None:
    deadline_s = time.monotonic() + WITHIN_S
    while holds(server):
        assert time.monotonic() < deadline_s, "the text stays in the append-only file"
        time.sleep(0.05)
