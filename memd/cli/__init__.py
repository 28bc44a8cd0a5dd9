"""The command line: ``memd serve`` is the daemon, everything else a client of it.

``parser`` declares the commands and costs nothing to import; the module that runs a command is imported when it is run, so
that ``memd recall`` does not wait for the embedding runtime.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from memd.cli.errors import CommandError
from memd.cli.parser import build_parser
from memd.domain.errors import InvalidArgument, MemdError

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

# Command -> the module with its run(args) -> int. Fixed names: nothing a user types is ever imported.
COMMANDS: Mapping[str, str] = {
    "serve": "memd.cli.serve",
    "recall": "memd.cli.recall",
    "remember": "memd.cli.remember",
    "observe": "memd.cli.observe",
    "forget": "memd.cli.forget",
    "list": "memd.cli.show",
    "get": "memd.cli.show",
    "tiers": "memd.cli.status",
    "stats": "memd.cli.status",
    "health": "memd.cli.status",
    "version": "memd.cli.status",
    "model": "memd.cli.model",
    "verify": "memd.cli.verify",
    "export": "memd.cli.transfer",
    "import": "memd.cli.transfer",
    "backup": "memd.cli.backup",
    "restore": "memd.cli.backup",
    "reembed": "memd.cli.reembed",
    "lifecycle": "memd.cli.lifecycle",
    "namespace": "memd.cli.namespace",
    "session": "memd.cli.session",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 failed, 2 wrong usage. A failure is one line on stderr."""
    parser = build_parser()
    try:
        args = parser.parse_args(argv)
        if args.command is None:
            parser.print_help()
            return EXIT_USAGE
        if args.command != "serve":
            os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # a lost connection is reported once, by us
        run: Callable[..., int] = importlib.import_module(COMMANDS[args.command]).run
        code = run(args)
        sys.stdout.flush()
        return code
    except CommandError as exc:
        return _fail(str(exc), exc.exit_code)
    except MemdError as exc:
        return _fail(exc.message, EXIT_USAGE if isinstance(exc, InvalidArgument) else EXIT_FAILURE)
    except BrokenPipeError:
        # the reader (head, less) has gone: keep the interpreter from complaining when it flushes
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _fail(message: str, code: int) -> int:
    print(f"memd: {message}", file=sys.stderr)
    return code
