"""Who calls: what a credential stands for. Made by the authentication, never by a request."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Right(Enum):
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """``writer`` names the credential in audit rows. ``user_id`` and ``agent_id``, when set, are fixed by the credential:
    every call of it is about that user, that agent. ``any_namespace`` is the local owner's where authentication is off:
    the socket's file permissions are the credential, ``namespace`` is then only the default of a request that names none."""

    writer: str
    namespace: str
    user_id: str = ""
    agent_id: str = ""
    rights: frozenset[Right] = frozenset()
    any_namespace: bool = False
