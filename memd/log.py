"""Logs: one line per record on stderr, plain or JSON, without content.

A line is made of the record's fixed text, the values the code put into ``extra={"fields": {...}}`` (ids of this process,
counts, method names: never memory text, embeddings or credentials) and, for an exception, the classes and places of its
chain. The text of an exception is never logged: it may quote what somebody stored.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
FORMATS = frozenset({"plain", "json"})
_OWN = "memd"


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Send all logging to ``stream`` (stderr). Other libraries' records lose their arguments and speak from WARNING on."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.addFilter(_not_hung_up)
    handler.setFormatter(JsonFormatter() if form == "json" else PlainFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(LEVELS[level], logging.WARNING))
    logging.getLogger(_OWN).setLevel(LEVELS[level])
    logging.raiseExceptions = False


def _not_hung_up(record: logging.LogRecord) -> bool:
    """gRPC reports as an error, with a traceback, that a client was gone when its reply was to be sent."""
    exc = record.exc_info[1] if record.exc_info else None
    return not (record.name.startswith("grpc.") and type(exc).__name__ == "ExecuteBatchError")


def on_loop_error(loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """Exception handler of the event loop: asyncio's own would print the text of the exception."""
    logging.getLogger("memd.loop").error("unhandled error in the event loop", exc_info=context.get("exception"))


def describe(exc: BaseException) -> list[str]:
    """An exception without its text: per link of its chain the class and where it was raised, innermost frame last."""
    lines: list[str] = []
    seen: set[int] = set()
    link: BaseException | None = exc
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        lines.append(f"{type(link).__module__}.{type(link).__qualname__}")
        frames = traceback.extract_tb(link.__traceback__, limit=-8)
        lines.extend(f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames)
        if isinstance(link, BaseExceptionGroup):
            lines.extend(f"  {line}" for part in link.exceptions[:4] for line in describe(part))
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return lines


def _text(record: logging.LogRecord) -> str:
    """Own records: the formatted message. Others' arguments may hold anything, so only their template is shown."""
    own = record.name == _OWN or record.name.startswith(f"{_OWN}.")
    return record.getMessage() if own else str(record.msg)[:200]


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _exception(record: logging.LogRecord) -> list[str]:
    exc = record.exc_info[1] if record.exc_info else None
    return describe(exc) if exc is not None else []


class PlainFormatter(logging.Formatter):
    """``TIME LEVEL logger: text key=value``, exceptions indented below."""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        words = [_time(record), record.levelname, f"{record.name}:", _printable(_text(record))]
        words += [f"{key}={_printable(str(value))}" for key, value in fields.items()]
        return "\n    ".join([" ".join(words), *_exception(record)])


class JsonFormatter(logging.Formatter):
    """One object a line: ``time level logger message``, the fields, ``exception`` as a list of lines."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _text(record),
            **getattr(record, "fields", {}),
        }
        if exception := _exception(record):
            line["exception"] = exception
        return json.dumps(line, ensure_ascii=True, default=str)


def _printable(text: str) -> str:
    """Control characters escaped: one record is one line, whatever a name holds."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
