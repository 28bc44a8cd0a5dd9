"""What several commands' arguments have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, TypeAlias

from memd.cli.errors import USAGE_ERROR, CommandError

DEFAULT_TIMEOUT_S = 5.0
# remember embeds, forget scans, verify reads every row; the daemon allows bulk calls two minutes.
BULK_TIMEOUT_S = 60.0
VERIFY_TIMEOUT_S = 120.0

Parser: TypeAlias = argparse.ArgumentParser
Add: TypeAlias = Callable[..., Parser]

WHERE = (
    "FIELD=VALUE; also != < <= > >=. Fields: speaker, importance, event_time, ..., metadata.KEY. Repeat: all must hold"
)


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Descriptions as written, and room for the flags beside their help."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)


def add_client_flags(parser: Parser) -> None:
    where = parser.add_argument_group("daemon")
    where.add_argument("--address", metavar="ADDR", help="unix:/PATH, /PATH or HOST:PORT (default: see memd --help)")
    where.add_argument("--token-file", metavar="FILE", help="file with the credential (default: none)")
    where.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help=f"deadline with all retries (default: {DEFAULT_TIMEOUT_S:g}; remember and forget: {BULK_TIMEOUT_S:g}; "
        f"verify: {VERIFY_TIMEOUT_S:g})",
    )
    scope = parser.add_argument_group("scope (default: each unset; matching is exact, unset sees what is unset)")
    scope.add_argument("--namespace", default="", metavar="NAME", help="only narrows what the credential allows")
    scope.add_argument("--user", default="", metavar="ID", help="whose memory")
    scope.add_argument("--agent", default="", metavar="ID", help="which agent's")
    scope.add_argument("--session", default="", metavar="ID", help="which conversation or task run")


class Count(argparse.Action):
    """Of ``type=int``: a number of things, which is refused with the name of its flag where it is negative."""

    def __call__(
        self, parser: Parser, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        if values < 0:
            raise CommandError(f"{option_string} is 0 or more, not {values}", USAGE_ERROR)
        setattr(namespace, self.dest, values)


def add_json(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON value in place of text")


def add_filter(parser: Parser) -> None:
    parser.add_argument("--tag", action="append", default=[], metavar="TAG", help="only memories with this tag; repeat")
    parser.add_argument("--where", action="append", default=[], metavar="EXPR", help=WHERE)
