"""TaskStore on Redis. See ``memd.ports`` for what each method promises, ``keys.py`` for where things are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from memd.adapters.redis import keys, scripts
from memd.adapters.redis.link import RedisLink
from memd.adapters.redis.receipts import Receipt
from memd.adapters.redis.replies import outcome
from memd.adapters.redis.schedule import Schedule, fitting
from memd.adapters.rows.cursors import decode_cursor, encode_cursor
from memd.domain.errors import NotFound, StoreBusy, VersionConflict
from memd.domain.model import Checkpoint, Page, RequestKey, Written
from memd.limits import (
    REDIS_BATCH,
    REDIS_GRACE_US,
    REDIS_INDEX_GRACE_US,
    REDIS_REGISTRATION_US,
    RESERVED_VERSION_TTL_US,
)
from memd.ports import TaskHistory

_REGISTRATIONS = 2
_NUMBERS = 3
"""Fields of a task besides the descriptions of its versions."""


class RedisCheckpoints:
    """``link`` may be shared with RedisSessions; whoever opened it closes it."""

    def __init__(self, link: RedisLink) -> None:
        self.link = link
        self._schedule = Schedule(link, keys.DUE_TASKS)

    # -- writes

    async def save(
        self,
        namespace: str,
        task_id: str,
        state: bytes,
        *,
        expected_version: int | None,
        ttl_us: int,
        keep: int,
        request: RequestKey | None,
    ) -> Written[Checkpoint]:
        expected = "" if expected_version is None else expected_version
        tail = keep, expected, _body_digest(request), hashlib.sha256(state).hexdigest(), state
        return await self.link.finished(self._save(namespace, task_id, ttl_us, tail, request))

    async def _save(
        self, namespace: str, task_id: str, ttl_us: int, tail: tuple[Any, ...], request: RequestKey | None
    ) -> Written[Checkpoint]:
        registered: str | int = ""
        for _ in range(_REGISTRATIONS + 1):
            times = registered, ttl_us, REDIS_GRACE_US, REDIS_REGISTRATION_US, RESERVED_VERSION_TTL_US
            reply = await self._write(scripts.SAVE, namespace, task_id, request, *times, *tail)
            if reply[0] == b"CONFLICT":
                raise VersionConflict("the task has another version", current_version=reply[1])
            if reply[0] != b"UNREGISTERED":
                (version, size, digest, create, expire), replayed = outcome(reply)
                sha256 = bytes.fromhex(digest.decode())
                saved = Checkpoint(namespace, task_id, version, b"", size, sha256, create, expire)
                return Written(saved, version, await self.link.persistence(), replayed)
            registered = await self.link.run(scripts.ENLIST, keys.task_index(namespace), self.link.now(), task_id)
            await self._schedule.add(keys.joined(namespace, task_id), ttl_us)
        raise StoreBusy("the clocks of the Redis cluster's nodes are more than ten minutes apart")

    async def delete(self, namespace: str, task_id: str, request: RequestKey | None) -> Written[int]:
        return await self.link.finished(self._delete(namespace, task_id, request))

    async def _delete(self, namespace: str, task_id: str, request: RequestKey | None) -> Written[int]:
        reply = await self._write(scripts.REMOVE, namespace, task_id, request, _body_digest(request), "all")
        (number, versions, live, _), replayed = outcome(reply)
        return Written(versions if live else 0, number, await self.link.persistence(), replayed)

    async def _write(
        self, script: scripts.Script, namespace: str, task_id: str, request: RequestKey | None, *args: Any
    ) -> list[Any]:
        names, repeatable = keys.task_keys(namespace, task_id, request), request is not None
        reply: list[Any] = await self.link.run(script, names, self.link.now(), *args, repeatable=repeatable)
        return reply

    # -- reads

    async def load(self, namespace: str, task_id: str, version: int) -> Checkpoint:
        found = await self.link.run(scripts.LOAD, keys.task_keys(namespace, task_id), self.link.now(), version)
        if found is None:
            raise NotFound("there is no such checkpoint")
        number, expire, description, state = found
        return _checkpoint(namespace, task_id, number, expire, description, state)

    async def page(self, namespace: str, task_id: str, *, size: int, cursor: str) -> Page[Checkpoint]:
        if task_id:
            (before,) = decode_cursor(cursor, int) or (1 << 62,)
            (versions,) = await self._described(namespace, [task_id])
            older = [one for one in versions if one.version < before]
            return _page(older, size, lambda one: one.version)
        (after,) = decode_cursor(cursor, str) or ("",)
        return _page(await self._newest(namespace, after, size + 1), size, lambda one: one.task_id)

    async def _newest(self, namespace: str, after: str, wanted: int) -> list[Checkpoint]:
        """The newest checkpoint of tasks after ``after``, by name."""
        found: list[Checkpoint] = []
        while len(found) < wanted:
            start = f"({after}" if after else "-"
            index = keys.task_index(namespace)
            names = await self.link.command("ZRANGE", index[0], start, "+", "BYLEX", "LIMIT", 0, REDIS_BATCH)
            tasks = [name.decode() for name in names]
            versions = await self._described(namespace, tasks)
            found += [one[0] for one in versions if one]
            gone = [task for task, one in zip(tasks, versions, strict=True) if not one]
            await self._strike(namespace, gone)
            if len(tasks) < REDIS_BATCH:
                break
            after = tasks[-1]
        return found[:wanted]

    async def _described(self, namespace: str, task_ids: Sequence[str]) -> list[list[Checkpoint]]:
        """Live versions of each task, newest first, without state."""
        asked = [("HGETALL", keys.task_keys(namespace, task_id)[0]) for task_id in task_ids]
        replies = await self.link.commands(asked)
        now_us = await self.link.now_us() if any(replies) else 0
        return [_versions(namespace, one, reply, now_us) for one, reply in zip(task_ids, replies, strict=True)]

    # -- removal

    async def forget(
        self, namespace: str, task_ids: Sequence[str], *, all_tasks: bool, receipt_id: str
    ) -> Mapping[str, int]:
        return await self.link.finished(self._forget(namespace, task_ids, all_tasks, receipt_id))

    async def _forget(
        self, namespace: str, task_ids: Sequence[str], all_tasks: bool, receipt_id: str
    ) -> Mapping[str, int]:
        receipt = Receipt(self.link, namespace, "tasks", receipt_id, ("checkpoints",))
        known = await receipt.result()
        if known is not None:
            return known
        if all_tasks:
            names = await self.link.command("ZRANGE", keys.task_index(namespace)[0], 0, -1)
            task_ids = [name.decode() for name in names]
        for start in range(0, len(task_ids), REDIS_BATCH):
            batch = task_ids[start : start + REDIS_BATCH]
            removed = [await self._remove(namespace, task_id, "all") for task_id in batch]
            await receipt.add({"checkpoints": sum(versions for versions, _ in removed)})
            await self._strike(namespace, batch)
        return await receipt.done()

    async def histories(self, *, size: int, cursor: str) -> Page[TaskHistory]:
        """The walk over the names may bring more than ``size``, and one of them twice."""
        found, names = await self.link.command("ZSCAN", keys.DUE_TASKS, cursor or "0", "COUNT", size)
        tasks = [(parts[0], parts[1]) for parts in (keys.split(name.decode()) for name, _ in names)]
        sizes = await self.link.commands([("HLEN", keys.task_keys(*task)[0]) for task in tasks])
        held = zip(tasks, sizes, strict=True)
        items = tuple(TaskHistory(*task, fields - _NUMBERS) for task, fields in held if fields > _NUMBERS)
        return Page(items, str(int(found)) if int(found) else "")

    async def prune(self, namespace: str, task_id: str, keep: int) -> int:
        gone = await self.link.finished(self.link.run(scripts.PRUNE, keys.task_keys(namespace, task_id), keep))
        return int(gone)

    async def sweep(self, max_rows: int) -> int:
        """Versions of expired tasks, at most ``max_rows`` (or those of one task that has more). The numbers that stay
        reserved go by Redis's own TTL."""
        swept = looked = 0
        while looked < max_rows:
            due = await self._schedule.due(min(REDIS_BATCH, max_rows))
            sizes = await self.link.commands([("HLEN", keys.task_keys(parts[0], parts[1])[0]) for parts, _ in due])
            fit = fitting([max(0, size - _NUMBERS) for size in sizes], max_rows - swept, swept == 0)
            seen = []
            for parts, at in due[:fit]:
                versions, expires = await self._remove(parts[0], parts[1], "expired")
                swept += versions
                seen.append((parts, at, expires))
                if not expires:
                    await self._strike(parts[0], parts[1:])
            await self._schedule.looked(seen)
            looked += fit
            if not due or fit < len(due):
                break
        return swept

    async def _remove(self, namespace: str, task_id: str, which: str) -> tuple[int, int]:
        """How many versions went, when a spared task expires."""
        reply = await self._write(scripts.REMOVE, namespace, task_id, None, b"", which)
        (_, versions, _, expires), _ = outcome(reply)
        return versions, expires

    async def _strike(self, namespace: str, task_ids: Sequence[str]) -> None:
        if task_ids:
            index = keys.task_index(namespace)
            await self.link.run(scripts.STRIKE, index, self.link.now(), REDIS_INDEX_GRACE_US, *task_ids)


def _page(found: Sequence[Checkpoint], size: int, key: Any) -> Page[Checkpoint]:
    items = tuple(found[:size])
    return Page(items, encode_cursor(key(items[-1])) if len(found) > size else "")


def _versions(namespace: str, task_id: str, stored: Mapping[bytes, bytes], now_us: int) -> list[Checkpoint]:
    expire = int(stored.get(b"expire", 0))
    if expire <= now_us:
        return []
    numbers = sorted((int(name) for name in stored if name.isdigit()), reverse=True)
    return [_checkpoint(namespace, task_id, one, expire, stored[b"%d" % one], b"") for one in numbers]


def _checkpoint(
    namespace: str, task_id: str, version: int, expire: int, description: bytes, state: bytes
) -> Checkpoint:
    create, size, sha256 = description.decode().split(" ")
    return Checkpoint(namespace, task_id, version, state, int(size), bytes.fromhex(sha256), int(create), expire)


def _body_digest(request: RequestKey | None) -> bytes:
    return b"" if request is None else request.body_sha256
