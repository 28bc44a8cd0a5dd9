"""Procedures from before versions were weighed go on as they were."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import apsw

from memd.adapters.sqlite.schema import MIGRATIONS
from memd.domain.learning import Tally
from memd.domain.model import Outcome, OutcomeReport
from tests.sqlite.conftest import Open

OLD = MIGRATIONS[:2]
ROWS = """
INSERT INTO namespace_head VALUES ('n', 3, 7);
INSERT INTO procedure VALUES (5, 'n', 'p', 'u', '', 'key', 3, x'0000803f000000000000000000000000');
INSERT INTO procedure_version VALUES (5, 1, 'other words', 'one', '{}', 9, 1, 100, 150);
INSERT INTO procedure_version VALUES (5, 2, 'words', 'two', '{}', 18, 2, 200, 250);
INSERT INTO procedure_version VALUES (5, 3, 'words', 'three', '{}', 3, 4, 300, NULL);
"""


async def test_they_are_offered_as_before_and_weighed_from_now_on(open_stores: Open, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    database = apsw.Connection(str(tmp_path / "data" / "memd.db"))
    migrations = resources.files("memd.adapters.sqlite") / "migrations"
    database.execute("".join((migrations / name).read_text(encoding="utf-8") for name in OLD) + ROWS)
    database.pragma("user_version", len(OLD))
    database.close()
    stores = open_stores()
    one = await stores.procedures.get("n", "p", 0)
    assert (one.content, one.successes, one.failures, one.demotion) == ("three", 3, 4, None)
    assert (one.offer.version, one.offer.newest, one.offer.since, one.offer.demotion) == (3, 3, 300, None)
    (row,) = [row for batch in stores.memories.load("n", "procedure")[1] for row in batch]
    assert (row.version, row.text, len(row.embeddings)) == (3, "key words", 16)
    for _ in range(5):
        last = await stores.procedures.report("n", "p", 3, OutcomeReport(Outcome.FAILURE), None)
    assert last.value.demotion is not None
    assert last.value.demotion.since == Tally(0, 5), "what happened before is not held against it"
    (row,) = [row for batch in stores.memories.load("n", "procedure")[1] for row in batch]
    assert (row.version, len(row.embeddings)) == (2, 16), "the same trigger has the same embeddings"
    _, _, problems = await stores.memories.verify("n")
    assert list(problems) == []
