"""How commands print: JSON for programs, aligned columns for people."""

from __future__ import annotations

import base64
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any


def print_json(value: Any) -> None:
    """One JSON value: dataclasses as objects, times as ISO 8601, durations as seconds, bytes as base64."""
    print(json.dumps(plain(value), ensure_ascii=False, indent=2))


def plain(value: Any) -> Any:
    """The value made of what JSON has."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Aligned columns under their names."""
    cells = [list(map(str, row)) for row in (head, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_fields(fields: Mapping[str, object]) -> None:
    """One field a line, the names aligned; what is not set is left out."""
    shown = {name: value for name, value in fields.items() if value not in (None, "", (), [], {})}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        print(f"{name.ljust(width)}  {value}")


def note(line: str) -> None:
    """Something about the answer that is not the answer: to stderr."""
    print(line, file=sys.stderr)


def milliseconds(value: timedelta) -> str:
    """``1.3 ms``."""
    return f"{value.total_seconds() * 1e3:.1f} ms"


def one_line(text: str) -> str:
    """The text on one line, control characters shown escaped: stored text must not drive the terminal."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """The text with control characters (but line ends and tabs) escaped."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
