"""What is kept of content that is too long: its head and its tail, and how much is missing between them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Extract:
    """``content`` is at most the asked number of bytes; size and SHA-256 are those of the whole original."""

    content: str
    original_bytes: int
    original_sha256: bytes


def head_and_tail(data: bytes, max_bytes: int) -> Extract:
    """Head and tail of UTF-8 ``data``, half of ``max_bytes`` each, cut between characters, parted by one line that says
    how many bytes were left out."""
    marker = f"\n[... {len(data):,} bytes in all, the middle is left out ...]\n"
    half = (max_bytes - len(marker)) // 2
    head = data[:half].decode(errors="ignore")
    tail = data[-half:].decode(errors="ignore")
    return Extract(f"{head}{marker}{tail}", len(data), hashlib.sha256(data).digest())
