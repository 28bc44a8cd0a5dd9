"""R9: a retry has one effect, and gets the same reply.

A proxy loses the daemon's replies after the commit, so that the client sends the request again, and delivers requests twice,
one after the other or at the same time. For every RPC that changes something there must be exactly one effect and, whatever
arrived how often, one reply. The same request_id with another body is refused.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from memd_client import AsyncClient, RetryPolicy
from memd_client._proto.v1 import (
    admin_service_pb2,
    checkpoint_service_pb2,
    memory_service_pb2,
    procedure_service_pb2,
    session_service_pb2,
)
from memd_client.errors import RequestIdReused
from memd_client.types import NamespaceStats

from tests.daemon import CLIENTS_ONLY, Daemon
from tests.reliability.proxy import Key, Mischief, Proxy
from tests.reliability.size import scaled
from tests.reliability.writes import CASES

CALLS = scaled(500)
REUSED_EVERY = 5
MISCHIEF = (
    Mischief(lost=1),
    Mischief(lost=2),
    Mischief(twice=True),
    Mischief(together=True),
    Mischief(lost=1, twice=True),
    Mischief(lost=1, together=True),
)
QUICK = RetryPolicy(first_s=0.001, most_s=0.01, attempts=20)


def _methods() -> Iterator[Any]:
    for module in (
        admin_service_pb2,
        checkpoint_service_pb2,
        memory_service_pb2,
        procedure_service_pb2,
        session_service_pb2,
    ):
        for service in module.DESCRIPTOR.services_by_name.values():
            yield from service.methods


REPLIES = {f"/{method.containing_service.full_name}/{method.name}": method.output_type for method in _methods()}


def test_every_request_with_a_request_id_has_its_case() -> None:
    changing = {method.name for method in _methods() if "request_id" in method.input_type.fields_by_name}
    assert changing == CASES.keys()


async def test_every_retry_has_one_effect_and_the_same_reply(tmp_path: Path) -> None:
    rng = random.Random(9)
    with Daemon(tmp_path / "daemon", environment=CLIENTS_ONLY) as daemon:
        socket = daemon.socket_path.with_name("proxy.sock")
        async with (
            Proxy(daemon.address, socket, lambda: rng.choice(MISCHIEF)) as proxy,
            AsyncClient(daemon.address, user_id="u", session_id="s", timeout_s=20.0) as direct,
            AsyncClient(proxy.address, user_id="u", session_id="s", timeout_s=20.0, retry=QUICK) as client,
        ):
            for n in range(CALLS):
                await _one_effect(direct, client, n)
            assert len(proxy.replies) == CALLS
            assert [key[0] for key, replies in proxy.replies.items() if not _same(key, replies)] == []
            await _late_repeats_change_nothing(direct, proxy, rng)
            assert (await direct.verify()).ok


async def _one_effect(direct: AsyncClient, client: AsyncClient, n: int) -> None:
    name = list(CASES)[n % len(CASES)]
    case = await CASES[name](direct, n)
    before = await case.probe()
    await case.call(client, f"request-{n}")
    assert await case.probe() - before == case.delta, name
    if n // len(CASES) % REUSED_EVERY == 0:
        with pytest.raises(RequestIdReused):
            await case.other(direct, f"request-{n}")
        assert await case.probe() - before == case.delta, f"{name} with another body"


def _same(key: Key, replies: list[bytes]) -> bool:
    """One reply, of which all but one say that they are a repeat."""
    parsed = [_parse(key, reply) for reply in replies]
    fresh = sum(not reply.receipt.replayed for reply in parsed)
    for reply in parsed:
        reply.receipt.replayed = False
    return len(parsed) > 1 and fresh == 1 and all(reply == parsed[0] for reply in parsed)


def _parse(key: Key, reply: bytes) -> Any:
    message: Message = REPLIES[key[0]]._concrete_class()
    message.ParseFromString(reply)
    return message


async def _late_repeats_change_nothing(direct: AsyncClient, proxy: Proxy, rng: random.Random) -> None:
    """Every request once more, in any order, after all the others: each finds its own first reply."""
    before = await _stock(direct)
    keys = list(proxy.replies)
    rng.shuffle(keys)
    for key in keys:
        first, again = _parse(key, proxy.replies[key][0]), _parse(key, await proxy.send(key))
        assert again.receipt.replayed, key[0]
        assert again.receipt.seq == first.receipt.seq, key[0]
    assert await _stock(direct) == before


async def _stock(memd: AsyncClient) -> NamespaceStats:
    """What there is. The bytes an index takes change by themselves: its upkeep gives memory back."""
    return replace((await memd.stats()).namespace, index_bytes=0)
