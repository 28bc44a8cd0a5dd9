"""R5: a broken index file is never fatal and never wrong.

The core breaks snapshots by the thousand (``rust_core/core/tests/snapshot_mutants.rs``, in ``cargo test``). Here the whole
house starts on broken files: the answers are those of the rows, ``Verify`` is clean, and the next stop leaves a whole file.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from memd.adapters import index_upkeep
from memd.adapters.index_files import DIRECTORY
from memd.domain.model import Memory, Scope
from memd.domain.visibility import EVERYTHING
from memd.ports import SearchOptions
from memd.service.remember import Draft
from tests.reliability import stack as stacks
from tests.reliability.size import scaled
from tests.reliability.stack import Stack, vector

MUTANTS = scaled(120)
MEMORIES = 400
PLACES = ("harbour", "mill", "bakery", "chapel", "orchard", "quarry")
SCOPE = Scope("n", "ada")
Break = Callable[[bytes, random.Random], bytes]


def truncated(whole: bytes, rng: random.Random) -> bytes:
    return whole[: rng.randrange(len(whole))]


def flipped(whole: bytes, rng: random.Random) -> bytes:
    broken = bytearray(whole)
    for _ in range(rng.choice((1, 8, 64))):
        broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
    return bytes(broken)


def forged_length(whole: bytes, rng: random.Random) -> bytes:
    """Eight bytes near the front, where lengths stand, become one a file cannot have."""
    at = rng.randrange(min(len(whole) - 8, 512))
    return whole[:at] + rng.choice((0, 1, 2**31, 2**63, 2**64 - 1)).to_bytes(8, "little") + whole[at + 8 :]


def wiped(whole: bytes, rng: random.Random) -> bytes:
    """A page that never reached the disk."""
    at = rng.randrange(len(whole))
    return whole[:at] + bytes(min(4096, len(whole) - at)) + whole[at + 4096 :]


def moved(whole: bytes, rng: random.Random) -> bytes:
    at, size = rng.randrange(len(whole)), rng.randrange(1, 4096)
    return whole[:at] + whole[at + size :] + whole[at : at + size]


BREAKS: tuple[Break, ...] = (truncated, flipped, forged_length, wiped, moved)


@pytest.fixture(autouse=True)
def _everything_is_worth_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_upkeep, "INDEX_SAVE_MIN_ROWS", 1)


def answers(stack: Stack) -> list[tuple[str, int, float]]:
    options = SearchOptions(limit=10, trim_ratio=0.0)
    found = [stack.index.search("n", "memory", place, vector(place), EVERYTHING, options) for place in PLACES]
    assert all(answer.degraded == "" for answer in found)
    return [(hit.entry_id, hit.version, hit.score) for answer in found for hit in answer.hits]


async def filled(data_dir: Path) -> list[tuple[str, int, float]]:
    async with stacks.opened(data_dir) as stack:
        for start in range(0, MEMORIES, 100):
            drafts = [
                Draft(Memory(f"m{n}", SCOPE, f"number {n} was seen at the {PLACES[n % len(PLACES)]}"))
                for n in range(start, start + 100)
            ]
            await stack.remember.remember(SCOPE, drafts, writer="w")
        return answers(stack)


def the_file(data_dir: Path) -> Path:
    (path,) = (data_dir / DIRECTORY).glob("*.index")
    return path


async def test_the_answers_on_a_broken_file_are_those_of_the_rows(tmp_path: Path) -> None:
    data_dir, rng = tmp_path / "data", random.Random(5)
    expected = await filled(data_dir)
    assert len({entry_id for entry_id, _, _ in expected}) > 20
    whole = the_file(data_dir).read_bytes()
    for number in range(MUTANTS):
        broken = BREAKS[number % len(BREAKS)](whole, rng)
        the_file(data_dir).write_bytes(broken)
        async with stacks.opened(data_dir) as stack:
            assert answers(stack) == expected, f"mutant {number}"
            report = await stack.admin.verify("n")
            assert (report.ok, report.index_entries) == (True, MEMORIES), f"mutant {number}"
            fallen_back = not list((data_dir / DIRECTORY).glob("*.index"))
            assert fallen_back or broken == whole, f"mutant {number} was believed"
    async with stacks.opened(data_dir) as stack:
        assert answers(stack) == expected
        assert list((data_dir / DIRECTORY).glob("*.index")), "a whole file is used again"


async def test_an_index_directory_full_of_strangers_is_no_obstacle(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    expected = await filled(data_dir)
    path = the_file(data_dir)
    path.unlink()
    path.symlink_to("/dev/zero")
    (data_dir / DIRECTORY / "notes.txt").write_text("not an index")
    async with stacks.opened(data_dir) as stack:
        assert answers(stack) == expected
