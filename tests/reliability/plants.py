"""Bugs planted on purpose, to see that the suite finds them (R26).

``MEMD_TEST_PLANT=tests.reliability.plants:NAME`` breaks this in a daemon (see ``memd.testing_hooks``), in the processes that
the tests fork, and in pytest itself where it is told ``-p tests.reliability.plants``. Every plant puts something in the
place of a function that must be there: one that has moved makes the planting itself fail.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from memd.adapters.index import RustNamespaceIndex
from memd.adapters.sqlite import connection, requests
from memd.adapters.sqlite.outcome import Outcome
from memd.adapters.sqlite.tasks import SqliteTasks
from memd.adapters.sqlite.tombstones import Tombstones
from memd.adapters.sqlite.transaction import Transaction
from memd.adapters.sqlite.writer import Job, Writer
from memd.domain import visibility
from memd.domain.filters import And, Filter
from memd.domain.model import Scope
from memd.ports import IndexChange

VARIABLE = "MEMD_TEST_PLANT"


def plant_from_environment() -> None:
    """Break what the environment names."""
    for name in filter(None, os.environ.get(VARIABLE, "").split(",")):
        globals()[name.rpartition(":")[2]]()


def pytest_configure() -> None:
    plant_from_environment()


def _replace(owner: Any, name: str, bug: Any) -> Any:
    """Put ``bug`` in the place of what is called so; what was there."""
    original = getattr(owner, name)
    setattr(owner, name, bug)
    return original


def acknowledge_before_commit() -> None:
    def commit(self: Writer, tx: Transaction, jobs: list[Job]) -> bool:
        self._reply(jobs)
        return bool(original(self, tx, jobs))

    original = _replace(Writer, "_commit", commit)


def skip_fsync() -> None:
    _replace(connection, "_PRAGMAS", (*connection._PRAGMAS, "PRAGMA synchronous = OFF"))


def swallow_errors_of_commit() -> None:
    def commit(self: Writer, tx: Transaction, jobs: list[Job]) -> bool:
        with Outcome():
            self._connection.execute("COMMIT")
        self._rollback()
        return True

    _replace(Writer, "_commit", commit)


def lose_tombstones() -> None:
    def add(
        self: Tombstones, tx: Transaction, kind: str, scope: Scope, entry_ids: Sequence[str], *, all_users: bool
    ) -> None:
        tx.bump(scope.namespace)

    _replace(Tombstones, "add", add)


def drop_the_user_predicate() -> None:
    def user(scope: Scope) -> Filter:
        return And(())

    _replace(visibility, "_user", user)


def leave_the_index_behind() -> None:
    def apply(self: RustNamespaceIndex, changes: Sequence[IndexChange]) -> None:
        return None

    _replace(RustNamespaceIndex, "apply", apply)


def forget_what_was_answered() -> None:
    def find(tx: Transaction, store: str, request: object) -> None:
        return None

    def save(tx: Transaction, store: str, request: object, reply: object) -> None:
        return None

    _replace(requests, "find", find)
    _replace(requests, "save", save)


def ignore_the_expected_version() -> None:
    async def save(self: SqliteTasks, *args: Any, expected_version: int | None, **kwargs: Any) -> Any:
        return await original(self, *args, expected_version=None, **kwargs)

    original = _replace(SqliteTasks, "save", save)


PLANTS = (
    acknowledge_before_commit,
    skip_fsync,
    swallow_errors_of_commit,
    lose_tombstones,
    drop_the_user_predicate,
    leave_the_index_behind,
    forget_what_was_answered,
    ignore_the_expected_version,
)
