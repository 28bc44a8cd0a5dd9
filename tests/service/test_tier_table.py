"""Every cell of the tier table changes what the daemon does."""

from __future__ import annotations

import pytest

from memd._core import TokenCounter
from memd.domain.errors import ConfigError, LimitExceeded
from memd.domain.model import Event, EventKind, NamespaceSettings, Outcome, OutcomeReport, Scope, TierName
from memd.limits import DAY_US, HOUR_US, SECOND_US
from memd.ports import SearchOptions
from memd.service.recall import RecallReply
from tests.service.conftest import SCOPE, Build, House
from tests.service.writing import draft, learn, say

KEEP_ALL = SearchOptions(100, trim_ratio=0.0)


async def talk(house: House, turns: int = 12) -> None:
    for n in range(turns):
        await say(house, f"turn number {n} of the talk about the garden")


def section_tokens(reply: RecallReply, heading: str) -> int:
    for part in reply.context.split("\n\n---\n\n"):
        if part.startswith(heading):
            return TokenCounter().count(part.removeprefix(heading).strip())
    return 0


# -- store


@pytest.mark.parametrize("tier", TierName)
def test_a_store_that_is_not_there_is_refused(build: Build, tier: TierName) -> None:
    with pytest.raises(ConfigError, match=rf"tiers\.{tier.value}\.store"):
        build({tier: {"store": "mysql"}})


# -- working


async def test_working_max_items(build: Build) -> None:
    house = build({TierName.WORKING: {"max_items": 4}})
    await talk(house)
    assert [event.content.split()[2] for event in (await house.ask("garden")).working] == ["8", "9", "10", "11"]
    assert len((await house.sessions.working(SCOPE)).items) == 4


async def test_working_max_tokens(build: Build) -> None:
    house = build({TierName.WORKING: {"max_tokens": 30}})
    await talk(house)
    working = (await house.ask("garden")).working
    assert 0 < len(working) < 12
    assert sum(event.tokens for event in working) <= 30
    assert working[-1].content.startswith("turn number 11")


async def test_working_ttl(build: Build) -> None:
    house = build({TierName.WORKING: {"ttl_us": HOUR_US}})
    await say(house, "an hour and a half ago")
    house.clock.advance(HOUR_US // 2)
    await say(house, "an hour ago, nearly")
    house.clock.advance(HOUR_US - SECOND_US)
    assert [event.content for event in (await house.ask("garden")).working] == ["an hour ago, nearly"]


async def test_working_retrieval(build: Build) -> None:
    with pytest.raises(ConfigError, match=r"tiers\.working\.retrieval"):
        build({TierName.WORKING: {"retrieval": "recency"}})


# -- episodic


async def test_episodic_max_items(build: Build) -> None:
    house = build({TierName.EPISODIC: {"max_items": 7}, TierName.WORKING: {"max_items": 2}})
    await talk(house)
    assert len((await house.sessions.episodes(SCOPE, size=100)).items) == 7
    assert len((await house.ask("garden", max_episodes=100)).episodes) == 5


async def test_episodic_max_tokens(build: Build) -> None:
    house = build({TierName.EPISODIC: {"max_tokens": 40}, TierName.WORKING: {"max_items": 2}})
    await talk(house)
    reply = await house.ask("garden", max_episodes=100)
    assert len(reply.episodes) == 10
    assert 0 < section_tokens(reply, "## Recent context") <= 40
    assert "turn number 9 " in reply.context, "the newest have the first claim"
    assert reply.omitted > 0


async def test_episodic_ttl(build: Build) -> None:
    house = build({TierName.EPISODIC: {"ttl_us": 2 * HOUR_US}})
    await say(house, "first")
    house.clock.advance(2 * HOUR_US - SECOND_US)
    await say(house, "second, which refreshes the session")
    house.clock.advance(2 * HOUR_US - SECOND_US)
    assert len((await house.ask("garden")).working) == 2
    house.clock.advance(SECOND_US)
    assert (await house.ask("garden")).working == ()
    assert await house.sweeper.run_once() > 0


async def test_episodic_retrieval(build: Build) -> None:
    with pytest.raises(ConfigError, match=r"tiers\.episodic\.retrieval"):
        build({TierName.EPISODIC: {"retrieval": "hybrid"}})


# -- semantic


async def test_semantic_max_items(build: Build) -> None:
    house = build({TierName.SEMANTIC: {"max_items": 3}})
    await learn(house, "one thing", "another thing")
    await learn(house, "one thing", "a third thing")
    with pytest.raises(LimitExceeded):
        await learn(house, "one too many")
    with pytest.raises(LimitExceeded):
        await learn(house, "one thing", "one too many")
    await learn(house, "one thing", draft("another thing", pinned=True))
    await learn(house, "in another namespace", scope=Scope("other"))
    assert (await house.admin.stats("ns")).memories == 3
    await house.forget.forget(
        SCOPE, everything=False, memory_ids=[(await house.ask("third")).memories[0][0].memory_id], writer="t"
    )
    await learn(house, "there is room again")


async def test_semantic_max_tokens(build: Build) -> None:
    house = build({TierName.SEMANTIC: {"max_tokens": 30}})
    await learn(house, *[f"the garden has {n} trees and a very old wall of stone" for n in range(10)])
    reply = await house.ask("how many trees", limit=10, options=KEEP_ALL)
    assert len(reply.memories) == 10
    assert 0 < section_tokens(reply, "## Relevant knowledge") <= 30


async def test_semantic_ttl(build: Build) -> None:
    house = build({TierName.SEMANTIC: {"ttl_us": HOUR_US}})
    await learn(house, "the garden is green", draft("the garden wall is old", ttl_us=DAY_US))
    assert len((await house.ask("garden", options=KEEP_ALL)).memories) == 2
    house.clock.advance(HOUR_US)
    found = (await house.ask("garden", options=KEEP_ALL)).memories
    assert [memory.content for memory, _ in found] == ["the garden wall is old"]
    assert await house.sweeper.run_once() == 1
    assert (await house.admin.verify("ns")).ok


@pytest.mark.parametrize(
    ("retrieval", "first", "words_count"),
    [
        ("hybrid", "Kitty Couch", True),
        ("vector", "The cat is sleeping on the sofa", False),
        ("words", "Kitty Couch", True),
    ],
)
async def test_semantic_retrieval(build: Build, retrieval: str, first: str, words_count: bool) -> None:
    house = build({TierName.SEMANTIC: {"retrieval": retrieval}})
    await learn(house, "The cat is sleeping on the sofa", "Kitty Couch, 54, was elected mayor", "Revenue grew in Asia")
    before = house.embedder.stats()
    reply = await house.ask("kitty napping on the couch", options=KEEP_ALL, tiers=frozenset({TierName.SEMANTIC}))
    ran = (
        house.embedder.stats().cache_misses
        - before.cache_misses
        + house.embedder.stats().cache_hits
        - before.cache_hits
    )
    assert ran == (0 if retrieval == "words" else 1)
    assert reply.memories[0][0].content.startswith(first)
    assert any(hit.bm25 > 0 for _, hit in reply.memories) is words_count
    assert all(hit.relevance == 0 for _, hit in reply.memories) is (retrieval == "words")
    assert reply.answers[0].state == "OK"


# -- procedural


async def put(house: House, key: str, trigger: str, content: str = "steps") -> None:
    await house.procedures.put(SCOPE, key, trigger, content, {}, writer="test")


async def test_procedural_max_items(build: Build) -> None:
    house = build({TierName.PROCEDURAL: {"max_items": 2}})
    await put(house, "one", "first")
    await put(house, "two", "second")
    with pytest.raises(LimitExceeded):
        await put(house, "three", "third")
    await put(house, "one", "first", "a new version needs no room")


async def test_procedural_max_tokens(build: Build) -> None:
    house = build({TierName.PROCEDURAL: {"max_tokens": 30}})
    for n in range(3):
        await put(house, f"water-{n}", "watering the garden", "open the tap, wait ten minutes, close the tap again")
    reply = await house.ask("watering the garden")
    assert len(reply.procedures) == 3
    assert 0 < section_tokens(reply, "## Known procedures") <= 30


async def test_procedural_ttl(build: Build) -> None:
    house = build({TierName.PROCEDURAL: {"ttl_us": HOUR_US}})
    await put(house, "stale", "watering the garden")
    await put(house, "used", "watering the garden too")
    house.clock.advance(HOUR_US // 2)
    used = await house.procedures.get(SCOPE, "used")
    await house.procedures.report(SCOPE, "used", used.version, OutcomeReport(Outcome.SUCCESS))
    house.clock.advance(HOUR_US // 2)
    assert [procedure.key for procedure, _ in (await house.ask("watering the garden")).procedures] == ["used"]


async def test_procedural_retrieval(build: Build) -> None:
    house = build()
    await put(house, "water", "when plants are dry")
    asked = [(await house.ask(query)).procedures for query in ("the plants are dry", "please run water now")]
    assert [[procedure.key for procedure, _ in found] for found in asked] == [["water"], ["water"]]
    house = build({TierName.PROCEDURAL: {"retrieval": "key"}})
    asked = [(await house.ask(query)).procedures for query in ("the plants are dry", "please run water now", "water")]
    assert [[procedure.key for procedure, _ in found] for found in asked] == [[], ["water"], ["water"]]


# -- a namespace's own settings


async def test_a_namespace_overrides_the_table(house: House) -> None:
    await talk(house)
    assert len((await house.ask("garden")).working) == 12
    changed = NamespaceSettings(working_max_items=3, episodic_max_items=8, episodic_ttl_us=HOUR_US)
    await house.admin.update_settings("ns", changed, writer="test")
    await talk(house, 1)
    assert len((await house.ask("garden")).working) == 3
    assert len((await house.sessions.episodes(SCOPE, size=100)).items) == 8
    house.clock.advance(HOUR_US)
    assert (await house.ask("garden")).working == ()
    await house.admin.update_settings("ns", NamespaceSettings(), frozenset({"working_max_items"}), writer="test")
    await talk(house, 5)
    assert len((await house.ask("garden")).working) == 5


async def test_other_namespaces_keep_the_table(house: House) -> None:
    await house.admin.update_settings("ns", NamespaceSettings(working_max_items=1), writer="test")
    other = Scope("other", "ada", "", "s1")
    await say(house, "one turn", Event("", EventKind.DECISION, "a decision", importance=0.9), scope=other)
    assert len((await house.sessions.working(other)).items) == 2
