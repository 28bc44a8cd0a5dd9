"""S2: namespaces, users and agents never mix.

5,000 random operations at size A, over 20 namespaces at once, each with the same users, agents, sessions, ids, keys and
tasks, whose names are made of ``_ % : . * /``, look-alikes and empty strings. Every text that is stored carries a canary
of its owner; every reply and every error is searched for canaries of others, and compared with an oracle that is written
from the contract's table of visibility. Once over the Unix socket, where a request may name any namespace, and once over
TCP with a token for each namespace.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
import re
import socket
from collections.abc import Awaitable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from memd_client import AsyncClient, F, MemdError, NewMemory, Tier, errors

from tests.daemon import Daemon
from tests.reliability.size import scaled

T = TypeVar("T")
SOCKET_OPS, TOKEN_OPS = scaled(4_000), scaled(1_000)
SEED = 20_261_122
NAMESPACES = (
    *("a", "A", "a_", "_a", "a%", "%", "_", "a:", "a.b", "a*", "*", "a b", "ä", "a\u0308", "а", "a:b:c", "."),
    *("' OR 1=1 --", "default", "a\u200b"),
)  # fmt: skip
USERS = ("", "u", "u_", "u%", "u:a", "../u", "ü")
AGENTS = ("", "a", "%", "u:a")
SESSIONS = ("s", "s*", "a/s")
IDS = ("m", "m_", "m%", "M", "m:m", "m/1", "*", "ṁ")
KEYS = ("k", "k_", "%")
TASKS = ("t", "t%", "t/*")
SHARED_TAG = "_%"
QUERY = "what is known about the harbour"
CANARY = re.compile(r"zq(\d+)-(\d+)-(\d+)qz")

Who = tuple[int, int]
"""Numbers of a user and an agent."""


@dataclass
class Oracle:
    """What one namespace holds, by the contract. An agent of "" has what all agents of its user share."""

    memories: dict[str, tuple[Who, str]] = field(default_factory=dict)
    procedures: dict[tuple[Who, str], str] = field(default_factory=dict)
    events: dict[tuple[Who, str], list[str]] = field(default_factory=dict)
    tasks: dict[str, bytes] = field(default_factory=dict)

    def visible(self, who: Who) -> dict[str, str]:
        return {id_: text for id_, (owner, text) in self.memories.items() if sees(who, owner)}


def sees(who: Who, owner: Who) -> bool:
    return owner[0] == who[0] and owner[1] in (0, who[1])


class Lane:
    """Random operations on one namespace, one after the other, each checked at once."""

    def __init__(self, client: AsyncClient, number: int, seed: int) -> None:
        self._client = client
        self._number = number
        self._choose = random.Random(seed + number)
        self._oracle = Oracle()
        self._made = 0

    async def run(self, operations: int) -> None:
        names = [*OPERATIONS]
        weights = [OPERATIONS[name] for name in names]
        for _ in range(operations):
            self.who = self._choose.randrange(len(USERS)), self._choose.randrange(len(AGENTS))
            self.session = self._choose.choice(SESSIONS)
            self.view = self._client.scoped(
                user_id=USERS[self.who[0]], agent_id=AGENTS[self.who[1]], session_id=self.session
            )
            await getattr(self, self._choose.choices(names, weights)[0])()

    def text(self, owner: Who) -> str:
        self._made += 1
        return f"note {self._made} about the harbour zq{self._number}-{owner[0]}-{owner[1]}qz"

    def owner(self) -> tuple[Who, bool]:
        private = bool(self.who[1]) and self._choose.random() < 0.5
        return (self.who if private else (self.who[0], 0)), private

    async def ask(self, call: Awaitable[T], *expected: type[MemdError]) -> T | MemdError:
        """The reply, or an expected error; neither with a canary of others."""
        try:
            reply = await call
        except expected as error:
            self._search(f"{error} {error.field} {error.metadata}")
            return error
        self._search(repr(reply))
        token = getattr(reply, "next_page_token", "")
        self._search(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode(errors="replace"))
        return reply

    def _search(self, text: str) -> None:
        for namespace, user, agent in CANARY.findall(text):
            assert int(namespace) == self._number, f"{NAMESPACES[self._number]!r} saw {NAMESPACES[int(namespace)]!r}"
            assert sees(self.who, (int(user), int(agent))), f"{self.who} saw {(user, agent)}"

    # -- memories

    async def remember(self) -> None:
        id_, (owner, private) = self._choose.choice(IDS), self.owner()
        text = self.text(owner)
        memory = NewMemory(text, memory_id=id_, tags=[SHARED_TAG, text], speaker=text, metadata={text: text, "_%": "x"})
        held = self._oracle.memories.get(id_)
        reply = await self.ask(self.view.remember([memory], agent_private=private), errors.AlreadyExists)
        assert isinstance(reply, errors.AlreadyExists) == (held is not None and held[0] != owner)
        if not isinstance(reply, MemdError):
            self._oracle.memories[id_] = owner, text

    async def recall(self) -> None:
        found: Any = await self.ask(self.view.recall(QUERY, limit=100, candidates=100, trim_ratio=0.0, explain=True))
        assert {h.memory.memory_id: h.memory.content for h in found.memories} == self._oracle.visible(self.who)
        assert [e.content for e in found.working] == self._said()[-20:]
        assert all(hit.memory.scope.namespace == NAMESPACES[self._number] for hit in found.memories)

    async def list_all(self) -> None:
        listed: dict[str, str] = {}
        page: Any = await self.ask(self.view.list_page(page_size=3))
        while True:
            listed.update((memory.memory_id, memory.content) for memory in page.items)
            if not page.next_page_token:
                break
            other = self.view.scoped(user_id="somebody else")
            await self.ask(other.list_page(page_size=3, page_token=page.next_page_token), errors.InvalidArgument)
            page = await self.ask(self.view.list_page(page_size=3, page_token=page.next_page_token))
        assert listed == self._oracle.visible(self.who)

    async def filter(self) -> None:
        """A filter cannot widen what is seen, not even with ``not`` and ``or``."""
        stranger = self._choose.choice(USERS)
        anything = (F.user_id == stranger) | ~(F.user_id == stranger) | F.exists("agent_id")
        found: Any = await self.ask(self.view.list_page(filter=anything))
        assert {memory.memory_id for memory in found.items} == set(self._oracle.visible(self.who))

    async def get(self) -> None:
        id_ = self._choose.choice(IDS)
        calls = (self.view.get(id_), self.view.revisions_page(id_))
        for call in calls:
            found: Any = await self.ask(call, errors.NotFound)
            assert isinstance(found, MemdError) == (id_ not in self._oracle.visible(self.who))

    async def update(self) -> None:
        id_ = self._choose.choice(IDS)
        held = self._oracle.memories.get(id_)
        text = self.text(held[0] if held else self.who)
        reply = await self.ask(self.view.update(id_, content=text, metadata={"note": text}), errors.NotFound)
        assert isinstance(reply, MemdError) == (id_ not in self._oracle.visible(self.who))
        if held and not isinstance(reply, MemdError):
            self._oracle.memories[id_] = held[0], text

    async def forget(self) -> None:
        seen = self._oracle.visible(self.who)
        if self._choose.random() < 0.5:
            ids = self._choose.sample(IDS, 3)
            receipt: Any = await self.ask(self.view.forget(ids))
        else:
            ids = [*IDS]
            receipt = await self.ask(self.view.forget(filter=F.tag == SHARED_TAG))
        gone = seen.keys() & set(ids)
        assert receipt.counts["memories"] == len(gone)
        for id_ in gone:
            del self._oracle.memories[id_]

    async def forget_everything(self) -> None:
        def kept(owner: Who) -> bool:
            return owner[0] != self.who[0] or bool(self.who[1] and owner[1] != self.who[1])

        await self.ask(self.view.scoped(session_id="").forget(everything=True))
        held = self._oracle
        held.memories = {id_: one for id_, one in held.memories.items() if kept(one[0])}
        held.procedures = {key: one for key, one in held.procedures.items() if kept(key[0])}
        held.events = {key: one for key, one in held.events.items() if kept(key[0])}

    # -- sessions

    def _said(self) -> list[str]:
        return self._oracle.events.get((self.who, self.session), [])

    async def observe(self) -> None:
        text = self.text(self.who)
        await self.ask(self.view.observe(text, role=text[:100], metadata={text: text}))
        self._oracle.events.setdefault((self.who, self.session), []).append(text)

    async def episodes(self) -> None:
        found: Any = await self.ask(self.view.episodes_page(page_size=1_000))
        assert [event.content for event in found.items] == self._said()[::-1]
        working: Any = await self.ask(self.view.working_memory())
        assert [event.content for event in working.items] == self._said()[-20:]

    async def sessions(self) -> None:
        found: Any = await self.ask(self.view.sessions_page())
        mine = {session for (who, session), _ in self._oracle.events.items() if who == self.who}
        assert {session.scope.session_id for session in found.items} == mine

    # -- procedures

    def _procedure(self, key: str) -> tuple[Who, str] | None:
        """The agent's own comes before the shared one."""
        names = ((self.who, key), ((self.who[0], 0), key))
        return next((name for name in names if name in self._oracle.procedures), None)

    async def put_procedure(self) -> None:
        key, (owner, private) = self._choose.choice(KEYS), self.owner()
        text = self.text(owner)
        await self.ask(self.view.put_procedure(key, text, trigger=text, metadata={text: text}, agent_private=private))
        self._oracle.procedures[owner, key] = text

    async def get_procedure(self) -> None:
        key = self._choose.choice(KEYS)
        found: Any = await self.ask(self.view.get_procedure(key), errors.NotFound)
        name = self._procedure(key)
        assert getattr(found, "content", None) == (self._oracle.procedures[name] if name else None)
        listed: Any = await self.ask(self.view.list_procedures_page())
        mine = {text for (owner, _), text in self._oracle.procedures.items() if sees(self.who, owner)}
        assert {procedure.content for procedure in listed.items} == mine
        await self.ask(self.view.recall(QUERY, tiers=[Tier.PROCEDURAL]))

    async def delete_procedure(self) -> None:
        key = self._choose.choice(KEYS)
        reply = await self.ask(self.view.delete_procedure(key), errors.NotFound)
        name = self._procedure(key)
        assert isinstance(reply, MemdError) == (name is None)
        if name:
            del self._oracle.procedures[name]

    # -- tasks, which all users of a namespace share, and figures

    async def save_checkpoint(self) -> None:
        task, state = self._choose.choice(TASKS), self.text(self.who).encode()
        await self.ask(self.view.save_checkpoint(task, state))
        self._oracle.tasks[task] = state

    async def load_checkpoint(self) -> None:
        task = self._choose.choice(TASKS)
        found: Any = await self.ask(self.view.load_checkpoint(task), errors.NotFound)
        assert getattr(found, "state", None) == self._oracle.tasks.get(task)
        listed: Any = await self.ask(self.view.list_checkpoints_page())
        assert {checkpoint.task_id for checkpoint in listed.items} == set(self._oracle.tasks)

    async def delete_checkpoint(self) -> None:
        task = self._choose.choice(TASKS)
        reply = await self.ask(self.view.delete_checkpoint(task))
        assert bool(getattr(reply, "count", 0)) == (task in self._oracle.tasks)
        self._oracle.tasks.pop(task, None)

    async def stats(self) -> None:
        found: Any = await self.ask(self.view.stats())
        counts, held = found.namespace, self._oracle
        assert (counts.memories, counts.procedures, counts.sessions) == (
            len(held.memories),
            len(held.procedures),
            len(held.events),
        )


OPERATIONS: Mapping[str, int] = {
    **{"remember": 20, "recall": 12, "list_all": 6, "filter": 4, "get": 8, "update": 6, "forget": 4},
    **{"forget_everything": 1, "observe": 10, "episodes": 5, "sessions": 4, "put_procedure": 6, "get_procedure": 5},
    **{"delete_procedure": 1, "save_checkpoint": 3, "load_checkpoint": 3, "delete_checkpoint": 1, "stats": 2},
}


async def run_all(clients: list[AsyncClient], operations: int) -> list[Lane]:
    lanes = [Lane(client, number, SEED) for number, client in enumerate(clients)]
    await asyncio.gather(*(lane.run(operations // len(lanes)) for lane in lanes))
    return lanes


async def test_over_the_socket(tmp_path: Path) -> None:
    assert len(set(NAMESPACES)) == 20
    daemon = Daemon(tmp_path / "d")
    try:
        await asyncio.to_thread(daemon.start)
        async with AsyncClient(daemon.address, timeout_s=60) as client:
            clients = [client.scoped(namespace=name) for name in NAMESPACES]
            await run_all(clients, SOCKET_OPS)
            for view in clients:
                assert (await view.verify()).ok
    finally:
        daemon.close()


def token_file(path: Path) -> Path:
    """A token for each namespace; the token is the digest of its name."""
    path.touch(mode=0o600)
    lines = []
    for number, name in enumerate(NAMESPACES):
        digest = hashlib.sha256(token(name).encode()).hexdigest()
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'[[tokens]]\nname = "t{number}"\nsha256 = "{digest}"\nnamespace = "{quoted}"\n')
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def token(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


async def test_over_tcp_with_tokens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    arguments = ["--listen", address, "--token-file", str(token_file(tmp_path / "tokens.toml"))]
    daemon = Daemon(tmp_path / "d", arguments=arguments)
    try:
        await asyncio.to_thread(daemon.start)
        async with AsyncExitStack() as stack:
            clients = [AsyncClient(address, token=token(name), timeout_s=60) for name in NAMESPACES]
            for client in clients:
                await stack.enter_async_context(client)
            await run_all(clients, TOKEN_OPS)
            for number, client in enumerate(clients):
                other = client.scoped(namespace=NAMESPACES[number - 1], user_id="u", session_id="s")
                for call in (
                    other.recall(QUERY),
                    other.list_page(),
                    other.working_memory(),
                    other.load_checkpoint("t"),
                ):
                    with pytest.raises(errors.PermissionDenied):
                        await call
    finally:
        daemon.close()


def test_a_namespace_with_a_slash_is_refused_in_a_token_file_too(tmp_path: Path) -> None:
    path = token_file(tmp_path / "tokens.toml")
    path.write_text(path.read_text().replace('"a.b"', '"a/b"'))
    daemon = Daemon(tmp_path / "d", arguments=["--token-file", str(path)])
    try:
        assert daemon.spawn().wait(30) == 1
        assert "must not contain a slash" in daemon.log_tail()
    finally:
        daemon.close()
