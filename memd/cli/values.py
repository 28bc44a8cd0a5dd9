"""From words on the command line to values: times, metadata, filters, stdin."""

from __future__ import annotations

import argparse
import functools
import operator
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from memd_client import Expr, F
from memd_client.filters import Field

from memd.cli.errors import USAGE_ERROR, CommandError

_COMPARISON = re.compile(r"\s*([\w.\-/]+)\s*(!=|<=|>=|=|<|>)(.*)", re.DOTALL)
_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_UNITS_S = {"d": 86_400, "h": 3_600, "m": 60, "s": 1, "": 1}
_TIME_FIELDS = frozenset({"event_time", "create_time", "update_time", "valid_from", "valid_to", "expire_time"})
_STRING_FIELDS = frozenset({"memory_id", "user_id", "agent_id", "session_id", "source", "speaker", "tags"})


def moment(text: str | None) -> datetime | None:
    """An ISO 8601 time; without an offset it is local."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as exc:
        raise CommandError(f"not an ISO 8601 time: {text}", USAGE_ERROR) from exc


def span(text: str) -> timedelta:
    """``90d``, ``12h``, ``30m``, ``45s``, or a number of seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([dhms]?)", text)
    if match is None:
        raise CommandError(f"a duration is a number with d, h, m or s, not: {text}", USAGE_ERROR)
    try:
        return timedelta(seconds=float(match[1]) * _UNITS_S[match[2]])
    except OverflowError as exc:
        raise CommandError(f"too long a duration: {text}", USAGE_ERROR) from exc


def retention(args: argparse.Namespace) -> dict[str, Any]:
    """The retention settings that are given, by their names in the client."""
    given = {
        "retention_max_age": None if args.max_age is None else span(args.max_age),
        "retention_max_count": args.max_count,
        "retention_keep_if_pinned": args.keep_if_pinned,
    }
    return {name: value for name, value in given.items() if value is not None}


def scalar(text: str) -> str | int | float | bool:
    """true, false, a number, or a text (in double quotes always a text)."""
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    if re.fullmatch(r"[+-]?(\d+\.\d*|\.\d+|\d+)([eE][+-]?\d+)?", text):
        return float(text)
    return text


def metadata(pairs: Sequence[str]) -> dict[str, str | int | float | bool]:
    """``KEY=VALUE`` words as metadata."""
    made = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise CommandError(f"metadata is KEY=VALUE, not: {pair}", USAGE_ERROR)
        made[key] = scalar(value)
    return made


def chosen(args: argparse.Namespace) -> Expr | None:
    """The filter of ``--tag`` and ``--where``: all must hold. None without any."""
    parts = [F.tag == tag for tag in args.tag] + [_condition(text) for text in args.where]
    return functools.reduce(operator.and_, parts) if parts else None


def _condition(text: str) -> Expr:
    match = _COMPARISON.fullmatch(text)
    if match is None:
        raise CommandError(f"a condition is FIELD=VALUE (or != < <= > >=), not: {text}", USAGE_ERROR)
    field, symbol, word = match[1], match[2], match[3].strip()
    expr: Expr = _OPERATORS[symbol](Field(field), _operand(field, word))
    return expr


def _operand(field: str, word: str) -> Any:
    if field in _TIME_FIELDS:
        return moment(word)
    return word if field in _STRING_FIELDS else scalar(word)


def batches(text: str, size: int) -> Iterator[list[str]]:
    """The one text, or for ``-`` the lines of stdin that are not empty, at most ``size`` at a time."""
    lines = (line.rstrip("\r\n") for line in sys.stdin) if text == "-" else iter([text])
    kept = (line for line in lines if text != "-" or line.strip())
    while batch := list(islice(kept, size)):
        yield batch
