"""The gate of a namespace: an advisory lock that every write holds shared and a Forget holds alone.

A Forget has to delete what is there when it commits, and writers that began before must not commit after it unseen. Each
holds the gate from its first statement to its end, so a write lies wholly before a Forget, whose deletes then see it, or
wholly after it, and sees its tombstone. As it is the first lock of every transaction, it takes part in no deadlock.
"""

from __future__ import annotations

import hashlib


def gate_key(namespace: str) -> int:
    """Of 64 bits. Two namespaces with the same key would only wait for each other's Forgets."""
    digest = hashlib.blake2b(namespace.encode(), digest_size=8, person=b"memd gate").digest()
    return int.from_bytes(digest, "big", signed=True)


def mutex_key(*parts: str) -> int:
    """Of 64 bits: an advisory lock that one of several writers of the same thing holds alone, taken after the gate."""
    name = "".join(f"{len(part)}:{part}" for part in parts)
    digest = hashlib.blake2b(name.encode(), digest_size=8, person=b"memd mutex").digest()
    return int.from_bytes(digest, "big", signed=True)
