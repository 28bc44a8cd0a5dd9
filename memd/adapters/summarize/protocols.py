"""The two protocols of hosted models, as pure functions: what a request looks like, and what a reply says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from memd.domain.errors import Unavailable
from memd.limits import MAX_SUMMARIZER_CHARGE

ANTHROPIC_VERSION = "2023-06-01"


@dataclass(frozen=True, slots=True)
class Answer:
    """``cut``: the model stopped because it was not allowed more tokens."""

    text: str
    tokens_in: int
    tokens_out: int
    cut: bool


@dataclass(frozen=True, slots=True)
class Protocol:
    """``key_variable``: the environment variable that holds the key."""

    name: str
    base_url: str
    path: str
    default_model: str
    key_variable: str
    headers: Callable[[str], Mapping[str, str]]
    body: Callable[[str, str, str, int], Mapping[str, Any]]
    """From model, instructions, text and most tokens."""
    answer: Callable[[Any], Answer]
    """From the reply's JSON; Unavailable when it is not what the protocol promises."""


def _anthropic_headers(key: str) -> Mapping[str, str]:
    return {"x-api-key": key, "anthropic-version": ANTHROPIC_VERSION}


def _anthropic_body(model: str, instructions: str, text: str, max_tokens: int) -> Mapping[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": model, "max_tokens": max_tokens, "system": instructions, "messages": messages}


def _anthropic_answer(reply: Any) -> Answer:
    try:
        text = "".join(block["text"] for block in reply["content"] if block["type"] == "text")
        usage = reply["usage"]
        return Answer(
            text,
            _charged(usage["input_tokens"]),
            _charged(usage["output_tokens"]),
            reply["stop_reason"] == "max_tokens",
        )
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise nonsense() from exc


def _openai_headers(key: str) -> Mapping[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}


def _openai_body(model: str, instructions: str, text: str, max_tokens: int) -> Mapping[str, Any]:
    messages = [{"role": "system", "content": instructions}, {"role": "user", "content": text}]
    return {"model": model, "max_tokens": max_tokens, "messages": messages}


def _openai_answer(reply: Any) -> Answer:
    try:
        choice = reply["choices"][0]
        usage = reply.get("usage") or {}
        return Answer(
            _said(choice["message"]["content"]),
            _charged(usage.get("prompt_tokens", 0)),
            _charged(usage.get("completion_tokens", 0)),
            choice.get("finish_reason") == "length",
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as exc:
        raise nonsense() from exc


def _said(content: Any) -> str:
    """None where a model had nothing to say; TypeError for what is no text."""
    if content is not None and not isinstance(content, str):
        raise TypeError("no text")
    return content or ""


def _charged(tokens: Any) -> int:
    """ValueError for what cannot be added to a counter."""
    if not isinstance(tokens, int) or not 0 <= tokens <= MAX_SUMMARIZER_CHARGE:
        raise ValueError("no number of tokens")
    return tokens


def nonsense() -> Unavailable:
    return Unavailable("the summarizer's reply is not what its protocol promises")


PROTOCOLS: Mapping[str, Protocol] = {
    "anthropic": Protocol(
        name="anthropic",
        base_url="https://api.anthropic.com",
        path="/v1/messages",
        default_model="claude-haiku-4-5",
        key_variable="ANTHROPIC_API_KEY",
        headers=_anthropic_headers,
        body=_anthropic_body,
        answer=_anthropic_answer,
    ),
    "openai": Protocol(
        name="openai",
        base_url="https://api.openai.com/v1",
        path="/chat/completions",
        default_model="",
        key_variable="OPENAI_API_KEY",
        headers=_openai_headers,
        body=_openai_body,
        answer=_openai_answer,
    ),
}
