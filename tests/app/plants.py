"""Bugs for the daemon to trip over, by MEMD_TEST_PLANT."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from memd.adapters.embed_onnx.session import EncoderSession
from memd.adapters.sqlite.memories import SqliteMemories
from memd.adapters.sqlite.sessions import SqliteSessions
from memd.adapters.sqlite.tasks import SqliteTasks
from memd.adapters.sqlite.writer import Writer
from memd.service.remember import RememberService
from memd.tiers.semantic import SemanticTier

STALL = "MEMD_TEST_STALL"
"""Environment variable, a directory: what hangs does so while there is a file of its name in it."""


def remember_raises_the_text() -> None:
    """Remember fails with a foreign exception that quotes what was to be stored."""

    async def broken(self: RememberService, scope: Any, drafts: Any, **_: Any) -> Any:
        quoted = drafts[0].memory.content + str(drafts[0].memory.metadata)
        try:
            raise KeyError(quoted)
        except KeyError as exc:
            raise ValueError(f"cannot store {quoted}") from exc

    RememberService.remember = broken  # type: ignore[method-assign]


def semantic_tier_raises_the_query() -> None:
    """One tier of Recall fails with an exception that quotes the query."""

    async def broken(self: SemanticTier, ask: Any) -> Any:
        raise RuntimeError(ask.query)

    SemanticTier.recall = broken  # type: ignore[method-assign]


def _die(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def die_before_forgetting_sessions() -> None:
    """SIGKILL when the memories of a Forget are gone and nothing else is."""
    SqliteSessions.forget = _die  # type: ignore[method-assign]


def die_before_forgetting_tasks() -> None:
    """SIGKILL when the sessions are gone as well."""
    SqliteTasks.forget = _die  # type: ignore[method-assign]


def die_before_forgetting_receipt() -> None:
    """SIGKILL when everything is gone and the receipt does not know it."""
    SqliteMemories.finish_forget = _die  # type: ignore[method-assign]


def _wait_out(name: str) -> None:
    while Path(os.environ[STALL], name).exists():
        time.sleep(0.005)


def commits_wait() -> None:
    """The disk hangs: every commit waits while there is STALL/disk."""
    commit = Writer._commit

    def waiting(self: Writer, tx: Any, jobs: Any) -> bool:
        _wait_out("disk")
        return commit(self, tx, jobs)

    Writer._commit = waiting  # type: ignore[method-assign]


def model_waits() -> None:
    """The model hangs: every run of it waits while there is STALL/model."""
    embed = EncoderSession.embed

    def waiting(self: EncoderSession, ids: Any) -> bytes:
        _wait_out("model")
        return embed(self, ids)

    EncoderSession.embed = waiting  # type: ignore[method-assign]
