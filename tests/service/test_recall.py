"""One Recall over all four tiers."""

from __future__ import annotations

from memd.domain.model import TierName
from tests.service.conftest import SCOPE, House
from tests.service.writing import learn, say


async def test_a_recall_draws_on_every_tier(house: House) -> None:
    await say(house, *[f"we are talking about the trip, part {n}" for n in range(30)])
    await learn(house, "Ada prefers tea to coffee", "The office is in Vienna", "Ada's sister is called Eva")
    await house.procedures.put(SCOPE, "brew-tea", "when somebody wants tea", "boil, steep, serve", {}, writer="test")
    reply = await house.ask("What does Ada like to drink, tea perhaps?")
    assert [answer.state for answer in reply.answers] == ["OK"] * 4
    assert [answer.tier for answer in reply.answers] == list(TierName)
    assert len(reply.working) == 20
    assert [event.content[-2:] for event in reply.episodes] == [" 7", " 8", " 9"]
    assert reply.memories[0][0].content == "Ada prefers tea to coffee"
    assert reply.procedures[0][0].key == "brew-tea"
    headings = [line for line in reply.context.splitlines() if line.startswith("#")]
    assert headings == ["## Current session", "## Recent context", "## Relevant knowledge", "## Known procedures"]
    assert reply.context.count("\n---\n") == 3
    assert not reply.nothing_relevant
    assert reply.seq > 0
