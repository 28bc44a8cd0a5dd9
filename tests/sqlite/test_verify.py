"""Verify finds what must not be; offline it looks at the whole file."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from memd.adapters.sqlite import verify_offline
from tests.contract.builders import POLICY, SESSION, draft, event, procedure, vector
from tests.sqlite.conftest import Open

BREAKS = {
    "UPDATE namespace_head SET seq = 0": "ahead of their namespace's change number",
    "DELETE FROM memory_revision; UPDATE memory SET version = 0": "no version",
    "UPDATE memory_revision SET version = 9": "not older than their memory",
    "UPDATE embedding SET vectors = x'00'": "embeddings of the wrong size",
    "UPDATE procedure SET version = 7": "lack their newest version",
    "UPDATE session SET last_position = 0": "beyond the end of their session",
    "UPDATE task SET last_version = 0": "newer than their task's version",
    "UPDATE checkpoint SET size_bytes = 9": "another size than they say",
    "DELETE FROM session": "refer to a row that is not there",
}


async def fill(open_stores: Open) -> None:
    stores = open_stores()
    fence = await stores.memories.fence("n")
    for text in ("one", "two"):
        await stores.memories.remember("n", [draft("m", text)], fence=fence, writer="w", request=None)
    await stores.procedures.put(
        procedure("k"), (vector(),), expected_version=None, fence=fence, writer="w", request=None
    )
    await stores.sessions.append(SESSION, [event("a")], POLICY, None)
    await stores.tasks.save("n", "t", b"x", expected_version=0, ttl_us=10**9, keep=1, request=None)
    stores.close()


@pytest.mark.parametrize("sql", list(BREAKS))
async def test_a_broken_invariant_is_told(open_stores: Open, tmp_path: Path, sql: str) -> None:
    await fill(open_stores)
    assert verify_offline(tmp_path / "data") == []
    database = apsw.Connection(str(tmp_path / "data" / "memd.db"))
    database.execute(sql)
    database.close()
    (problem,) = verify_offline(tmp_path / "data")
    assert BREAKS[sql] in problem
    stores = open_stores()
    _, _, problems = await stores.memories.verify("n")
    assert list(problems) == [problem]


async def test_a_damaged_index_is_told(open_stores: Open, tmp_path: Path) -> None:
    await fill(open_stores)
    path = tmp_path / "data" / "memd.db"
    database = apsw.Connection(str(path))
    ((root,),) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'memory_name'").fetchall()
    database.close()
    data = bytearray(path.read_bytes())
    assert isinstance(root, int)
    at = (root - 1) * 4096 + 4096 - 20
    data[at : at + 20] = bytes(20)
    path.write_bytes(data)
    assert verify_offline(tmp_path / "data") != []
