"""Summarizer that asks a hosted model. Needs the extra ``memd[summarize]``.

The key travels in a header to the configured address alone: redirects are refused, not followed. Neither it nor any text
reaches a log or an error.
"""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field
from importlib import resources

import httpx2

from memd.adapters.summarize.protocols import Answer, Protocol, nonsense
from memd.domain.context import event_item
from memd.domain.errors import Unavailable
from memd.limits import (
    MAX_SUMMARY_REPLY_BYTES,
    SUMMARIZER_RETRY_FIRST_S,
    SUMMARIZER_TIMEOUT_S,
    SUMMARIZER_TRIES,
)
from memd.ports import Summary, SummaryRequest, TokenCounter

_BUSY = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
"""Statuses that a later try may change."""


def default_prompt() -> str:
    """The instructions a model gets where nobody configured others: ``prompt.md`` beside this file."""
    return (resources.files("memd.adapters.summarize") / "prompt.md").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """``base_url`` and ``model`` are the protocol's where empty; ``prompt`` has ``{max_tokens}`` in it."""

    protocol: Protocol
    prompt: str
    base_url: str = ""
    model: str = ""
    key: str = field(default="", repr=False)
    timeout_s: float = SUMMARIZER_TIMEOUT_S


class _Busy(Exception):
    """Worth another try, no sooner than after ``wait_s``."""

    def __init__(self, wait_s: float) -> None:
        super().__init__()
        self.wait_s = wait_s


class HttpSummarizer:
    def __init__(self, settings: HttpSettings, counter: TokenCounter) -> None:
        self._settings = settings
        self._counter = counter
        self._model = settings.model or settings.protocol.default_model
        self._url = (settings.base_url or settings.protocol.base_url).rstrip("/") + settings.protocol.path
        self._client = httpx2.AsyncClient(follow_redirects=False, timeout=settings.timeout_s, trust_env=False)

    async def summarize(self, request: SummaryRequest) -> Summary:
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                answer = await self._answer(request)
        except TimeoutError as exc:
            raise Unavailable("the summarizer did not answer in time") from exc
        text = answer.text.strip()
        if not _storable(text):
            raise nonsense()
        tokens = self._counter.count(text)
        if not text or answer.cut or tokens > request.max_tokens:
            raise Unavailable("the summarizer's answer is empty, cut off or longer than asked")
        made_by = f"{self._settings.protocol.name}/{self._model}"
        return Summary(text, tokens, made_by, answer.tokens_in, answer.tokens_out)

    async def close(self) -> None:
        await self._client.aclose()

    async def _answer(self, request: SummaryRequest) -> Answer:
        pause_s = SUMMARIZER_RETRY_FIRST_S
        for left in reversed(range(SUMMARIZER_TRIES)):
            try:
                return self._settings.protocol.answer(await self._post(self._body(request)))
            except _Busy as busy:
                if not left:
                    raise Unavailable("the summarizer is busy") from busy
                await asyncio.sleep(max(busy.wait_s, pause_s * random.uniform(0.5, 1.0)))
                pause_s *= 2
        raise AssertionError("the last try returns or raises")

    def _body(self, request: SummaryRequest) -> bytes:
        instructions = self._settings.prompt.replace("{max_tokens}", str(request.max_tokens))
        earlier = f"Earlier summary:\n{request.earlier}\n\n" if request.earlier else ""
        text = earlier + "\n".join(map(event_item, request.events))
        body = self._settings.protocol.body(self._model, instructions, text, request.max_tokens)
        return json.dumps(body, ensure_ascii=False).encode()

    async def _post(self, body: bytes) -> object:
        """The reply's JSON, of a size that can be held."""
        headers = {"content-type": "application/json", **self._settings.protocol.headers(self._settings.key)}
        try:
            async with self._client.stream("POST", self._url, content=body, headers=headers) as response:
                _check(response.status_code, response.headers.get("retry-after", ""))
                data = bytearray()
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > MAX_SUMMARY_REPLY_BYTES:
                        raise nonsense()
        except httpx2.TimeoutException as exc:
            raise Unavailable("the summarizer did not answer in time") from exc
        except httpx2.TransportError as exc:
            raise _Busy(0.0) from exc
        except httpx2.HTTPError as exc:
            raise nonsense() from exc
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as exc:
            raise nonsense() from exc


def _storable(text: str) -> bool:
    """Not with half of a surrogate pair, which JSON can say and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check(status: int, retry_after: str) -> None:
    if status in _BUSY:
        raise _Busy(float(retry_after) if retry_after.replace(".", "", 1).isdecimal() else 0.0)
    if status in (401, 403):
        raise Unavailable("the summarizer refused the key", metadata={"http_status": str(status)})
    if 300 <= status < 400:
        raise Unavailable("the summarizer redirects, which is not followed", metadata={"http_status": str(status)})
    if status != 200:
        raise Unavailable("the summarizer refused the request", metadata={"http_status": str(status)})
