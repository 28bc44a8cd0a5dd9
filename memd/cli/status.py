"""``memd tiers``, ``stats``, ``health`` and ``version``: how things are."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
from collections.abc import Callable, Mapping
from datetime import timedelta

from memd_client import Client, Health, Stats

from memd import __version__
from memd.cli.connect import connected
from memd.cli.output import plain, print_fields, print_json, print_table

# What a report about memd should name.
PACKAGES = ("memd-client", "grpcio", "protobuf", "apsw", "onnxruntime", "tokenizers", "numpy")


def run(args: argparse.Namespace) -> int:
    """Print what was asked for."""
    if args.command == "version":
        return _version(args)
    shown: Mapping[str, Callable[[Client, argparse.Namespace], int]] = {
        "tiers": _tiers,
        "stats": _stats,
        "health": _health,
    }
    with connected(args) as client:
        return shown[args.command](client, args)


def _tiers(client: Client, args: argparse.Namespace) -> int:
    tiers = client.stats().tiers
    if args.json:
        print_json(tiers)
        return 0
    rows = [(t.tier, t.store, _bound(t.max_items), _bound(t.max_tokens), _ttl(t.ttl), t.retrieval) for t in tiers]
    print_table(("tier", "store", "max_items", "max_tokens", "ttl", "retrieval"), rows)
    return 0


def _bound(count: int) -> str:
    return f"{count:,}" if count else "unbounded"


def _ttl(ttl: timedelta | None) -> str:
    if ttl is None:
        return "never"
    seconds = ttl.total_seconds()
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds > size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def _stats(client: Client, args: argparse.Namespace) -> int:
    stats = client.stats()
    if args.json:
        print_json(stats)
    else:
        print_fields(_figures(stats))
    return 0


def _figures(stats: Stats) -> dict[str, object]:
    figures: dict[str, object] = {
        "version": stats.version,
        "uptime": f"{stats.uptime.total_seconds():,.0f} s",
        "embedding model": stats.embedding_model or "none",
    }
    figures |= {f"{port.port} in": f"{port.store}, {port.durability}" for port in stats.ports}
    if stats.replica is not None:
        away = "" if stats.replica.reachable else ", Postgres is away"
        age_s = stats.replica.staleness.total_seconds()
        figures["replica"] = f"at change {stats.replica.seq:,}, {age_s:.1f} s old{away}"
    if stats.reembedding is not None:
        way = stats.reembedding
        figures["re-embedding"] = f"to {way.embedding_model}, {way.phase}: {way.done:,} of {way.total:,} texts"
    for part in (stats.namespace, stats.process):
        if part is not None:
            figures.update({name.replace("_", " "): _figure(value) for name, value in plain(part).items()})
    return figures


def _figure(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _health(client: Client, args: argparse.Namespace) -> int:
    health = client.health(args.service)
    if args.json:
        print_json({"health": health, "address": client.address})
    else:
        print(health)
    return 0 if health is Health.SERVING else 1


def _version(args: argparse.Namespace) -> int:
    versions = {"memd": __version__, "python": platform.python_version(), **dict(map(_installed, PACKAGES))}
    if args.json:
        print_json(versions)
    else:
        print_fields(versions)
    return 0


def _installed(package: str) -> tuple[str, str]:
    try:
        return package, importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return package, "not installed"
