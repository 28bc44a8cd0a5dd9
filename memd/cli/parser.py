"""The commands and their arguments. Standard library only, so that ``--help`` is immediate."""

from __future__ import annotations

import argparse

from memd import __version__
from memd.cli import parser_keeping
from memd.cli.flags import (
    Add,
    Count,
    Formatter,
    Parser,
    add_client_flags,
    add_filter,
    add_json,
)
from memd.limits import DEFAULT_LIMIT, DEFAULT_MAX_EPISODES, DEFAULT_TOKEN_BUDGET

DEFAULT_LIST_LIMIT = 100
DEFAULT_LOG_LEVEL = "info"

TOP = """\
A memory for AI agents: a daemon beside the agent, and this command to run it and to look into it.

`memd serve` is the daemon. Every other command is a client of a running daemon (but `memd model`, `memd version`,
`memd verify --offline`, `memd restore` and `memd reembed`, which need none). The daemon is expected at --address, else at
$MEMD_ADDRESS, else at $XDG_RUNTIME_DIR/memd/memd.sock or /tmp/memd-UID/memd.sock."""

TOP_EXAMPLES = """\
start here:
  memd model install                               once: get the embedding model
  memd serve &                                     the daemon, at its default socket
  memd remember --user ada "Ada prefers trains to planes" --tag travel
  memd observe --user ada --session s1 "Book me a trip to Lyon, please"
  memd recall --user ada --session s1 "how does she like to travel?"
  memd forget --user ada --tag travel

`memd COMMAND --help` says more. Exit codes: 0 done, 1 failed, 2 wrong usage."""


def build_parser() -> Parser:
    """The whole tree; ``args.command`` names the command."""
    parser = argparse.ArgumentParser(
        prog="memd",
        description=TOP,
        epilog=TOP_EXAMPLES,
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"memd {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    def add(
        name: str, summary: str, description: str, examples: str, *, operands: str = "", client: bool = True
    ) -> Parser:
        made: Parser = commands.add_parser(
            name,
            usage=f"memd {name} [OPTION ...]{operands}",
            help=summary,
            description=description,
            epilog=f"examples:\n{examples}",
            formatter_class=Formatter,
            allow_abbrev=False,
        )
        if client:
            add_client_flags(made)
        return made

    for declare in (
        _serve,
        _recall,
        _remember,
        _observe,
        _forget,
        _list,
        _get,
        _status,
        *parser_keeping.COMMANDS,
    ):
        declare(add)
    return parser


def _serve(add: Add) -> None:
    parser = add(
        "serve",
        "run the daemon",
        "Run the daemon until SIGTERM or Ctrl-C: on embedded storage, or as one of many over Redis and Postgres. It serves\n"
        "a Unix socket that only its user can open, unless --listen is given. Settings come from memd.toml, then MEMD_*\n"
        "variables, then these flags; later wins.",
        "  memd serve\n"
        "  memd serve --data-dir ./data --socket ./memd.sock\n"
        "  memd serve --redis redis://cache:6379/0 --postgres postgresql://memd@db/memd\n"
        "  memd serve --listen 0.0.0.0:7700 --token-file /etc/memd/tokens --metrics-listen 127.0.0.1:9100",
        client=False,
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="settings (default: $MEMD_CONFIG, else ~/.config/memd/memd.toml where there is one)",
    )
    parser.add_argument("--data-dir", metavar="DIR", help="where memories live (default: ~/.local/share/memd)")
    parser.add_argument(
        "--redis",
        metavar="URL",
        help="keep sessions there (default: none); one with a password is better kept out of the command line, in\n"
        "$MEMD_REDIS_URL or the file redis.url_file names",
    )
    parser.add_argument(
        "--postgres",
        metavar="URL",
        help="keep everything else there, with a copy in --data-dir (default: none); as --redis",
    )
    parser.add_argument("--socket", metavar="PATH", help="Unix socket (default: $XDG_RUNTIME_DIR/memd/memd.sock)")
    parser.add_argument("--listen", metavar="HOST:PORT", help="TCP, with --token-file or --insecure-loopback")
    parser.add_argument("--token-file", metavar="FILE", help="credentials and the namespaces they are bound to")
    parser.add_argument(
        "--insecure-loopback",
        action="store_const",
        const=True,
        help="allow TCP on a loopback address without credentials: any local user then reads everything",
    )
    parser.add_argument("--metrics-listen", metavar="HOST:PORT", help="serve Prometheus metrics (default: off)")
    parser.add_argument(
        "--health-listen", metavar="HOST:PORT", help="serve grpc.health.v1 alone, for probes (default: off)"
    )
    parser.add_argument("--model", metavar="ID/PRECISION", help="embedding model (default: see memd model list)")
    parser.add_argument(
        "--log-level", choices=["debug", "info", "warning", "error"], help=f"(default: {DEFAULT_LOG_LEVEL})"
    )


def _recall(add: Add) -> None:
    parser = add(
        "recall",
        "what the agent should have in its context now",
        "Print the ready-to-inject context block on stdout, and tokens, latency and each tier's status on stderr.\n"
        "Without --session the working and episodic tiers are skipped.",
        '  memd recall --user ada --session s1 "how does she like to travel?"\n'
        '  memd recall --user ada "billing" --limit 20 --where "metadata.amount>=100" --json',
        operands=" QUERY",
    )
    parser.add_argument("query", nargs="?", default="", help="what the agent is about to work on")
    parser.add_argument(
        "--limit", action=Count, type=int, default=0, metavar="N", help=f"most memories (default: {DEFAULT_LIMIT})"
    )
    parser.add_argument(
        "--max-episodes",
        action=Count,
        type=int,
        metavar="N",
        help=f"most episodes as recent context (default: {DEFAULT_MAX_EPISODES})",
    )
    parser.add_argument(
        "--token-budget",
        action=Count,
        type=int,
        default=0,
        metavar="N",
        help=f"bound on the block (default: {DEFAULT_TOKEN_BUDGET:,})",
    )
    parser.add_argument(
        "--tier",
        action="append",
        default=[],
        choices=["working", "episodic", "semantic", "procedural"],
        help="only this tier; repeat (default: all)",
    )
    parser.add_argument(
        "--min-relevance", type=float, metavar="COSINE", help="leave out weaker memories (default: keep all)"
    )
    parser.add_argument("--as-of", metavar="TIME", help="what was valid then, ISO 8601 (default: now)")
    parser.add_argument("--explain", action="store_true", help="with --json: what each score is made of")
    add_filter(parser)
    add_json(parser)


def _remember(add: Add) -> None:
    parser = add(
        "remember",
        "store memories",
        "Store one memory, or with - one memory a line of stdin. Stored on disk, and found by the next recall, when the\n"
        "command returns. The same text in the same scope is one memory.",
        '  memd remember --user ada "Ada prefers trains to planes" --tag travel --metadata weight=3\n'
        '  memd remember --user ada "Ada moved to Lyon" --id home --supersedes old-home\n'
        "  memd remember --user ada - < facts.txt",
        operands=" TEXT",
    )
    parser.add_argument("text", help="the memory, or - for stdin")
    parser.add_argument("--id", default="", metavar="ID", help="replace or create this one (default: by content)")
    parser.add_argument("--tag", action="append", default=[], metavar="TAG", help="label it; repeat")
    parser.add_argument(
        "--metadata", action="append", default=[], metavar="KEY=VALUE", help="number, true, false or text"
    )
    parser.add_argument("--speaker", default="", metavar="NAME", help="who said it")
    parser.add_argument("--source", default="user", choices=["user", "agent", "tool", "import"], help="(default: user)")
    parser.add_argument("--event-time", metavar="TIME", help="when it happened, ISO 8601")
    parser.add_argument("--importance", type=float, metavar="0..1", help="(default: 0.5)")
    parser.add_argument("--ttl", type=float, metavar="SECONDS", help="forget it then (default: never)")
    parser.add_argument("--supersedes", default="", metavar="ID", help="the memory whose validity ends with this one")
    parser.add_argument("--pinned", action="store_true", help="kept by retention whatever its age")
    parser.add_argument("--agent-private", action="store_true", help="only for the scope's agent")
    add_json(parser)


def _observe(add: Add) -> None:
    parser = add(
        "observe",
        "append what happened to a session",
        "Append an event to a session's working memory and episodes, or with - one event a line of stdin. Needs --session.",
        '  memd observe --user ada --session s1 "Book me a trip to Lyon, please"\n'
        '  memd observe --user ada --session s1 --kind tool_call --tool search --outcome failure "no trains found"',
        operands=" TEXT",
    )
    parser.add_argument("text", help="the event's content, or - for stdin")
    parser.add_argument(
        "--kind", default="turn", choices=["turn", "tool_call", "decision", "error"], help="(default: turn)"
    )
    parser.add_argument("--role", default="user", metavar="NAME", help="user, assistant, tool, ... (default: user)")
    parser.add_argument("--tool", default="", metavar="NAME", help="for a tool call: which")
    parser.add_argument("--outcome", choices=["success", "failure"], help="how it ended")
    parser.add_argument("--resolves", default="", metavar="EVENT", help="the error event that this resolves")
    parser.add_argument("--ephemeral", action="store_true", help="working memory only, never an episode")
    parser.add_argument("--extract", action="store_true", help="keep head and tail of too long a text, not refuse it")
    parser.add_argument("--whole", action="store_true", help="keep a long tool output whole, not an extract of it")
    add_json(parser)


def _forget(add: Add) -> None:
    parser = add(
        "forget",
        "delete for good, with a receipt",
        "Delete memories by id, by filter, or everything in the scope, and print what was deleted and what is out of reach.",
        "  memd forget --user ada 0f3a... 9b2c...\n"
        "  memd forget --user ada --tag travel --dry-run\n"
        "  memd forget --user ada --everything",
        operands=" [ID ...]",
    )
    parser.add_argument("ids", nargs="*", metavar="ID", help="memories to delete")
    add_filter(parser)
    parser.add_argument("--everything", action="store_true", help="all of the scope in every tier")
    parser.add_argument("--all-users", action="store_true", help="with --everything: the whole namespace (admin right)")
    parser.add_argument(
        "--task", action="append", default=[], metavar="ID", help="with --everything: its checkpoints too"
    )
    parser.add_argument("--dry-run", action="store_true", help="count, delete nothing")
    add_json(parser)


def _list(add: Add) -> None:
    parser = add(
        "list",
        "memories of a scope, newest first",
        "Print the memories of the scope, newest first: id, time, tags and text.",
        '  memd list --user ada\n  memd list --user ada --where "speaker=Ada" --limit 0 --json',
    )
    parser.add_argument(
        "--limit",
        action=Count,
        type=int,
        default=DEFAULT_LIST_LIMIT,
        metavar="N",
        help="most; 0: all (default: %(default)s)",
    )
    parser.add_argument("--include-invalid", action="store_true", help="also what is superseded or no longer valid")
    parser.add_argument("--as-of", metavar="TIME", help="what was valid then, ISO 8601 (default: now)")
    add_filter(parser)
    add_json(parser)


def _get(add: Add) -> None:
    parser = add(
        "get",
        "one memory, whole",
        "Print one memory with everything that is stored about it.",
        "  memd get --user ada 0f3a...\n  memd get --user ada 0f3a... --revisions",
        operands=" ID",
    )
    parser.add_argument("id", help="its id, as recall --json and list print it")
    parser.add_argument("--revisions", action="store_true", help="its earlier states too, newest first")
    add_json(parser)


def _status(add: Add) -> None:
    tiers = add(
        "tiers",
        "the live tier table",
        "Print the four tiers as the daemon runs them.",
        "  memd tiers\n  memd tiers --json",
    )
    add_json(tiers)
    stats = add(
        "stats", "what the daemon holds", "Print counts, sizes, model and queues.", "  memd stats\n  memd stats --json"
    )
    add_json(stats)
    health = add(
        "health",
        "whether the daemon serves; for probes",
        "Print what the daemon says about itself. Exit code 0 when it serves, 1 when not.",
        "  memd health\n  memd health --address localhost:7700 --timeout 1",
    )
    health.add_argument("--service", default="", metavar="NAME", help="one gRPC service (default: the daemon)")
    add_json(health)
    version = add(
        "version", "versions of memd and of what it runs on", "Print versions.", "  memd version --json", client=False
    )
    add_json(version)
