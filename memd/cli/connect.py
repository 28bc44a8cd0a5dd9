"""From flags to a client of the running daemon, and from its errors to one plain line."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from memd_client import Client, MemdError, RetryPolicy, errors

from memd.cli.errors import USAGE_ERROR, CommandError
from memd.cli.flags import DEFAULT_TIMEOUT_S

# A short lack of something is waited out, a lasting one (no model) is said after a few seconds.
TRIES = 4


@contextmanager
def connected(args: argparse.Namespace, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Iterator[Client]:
    """A client with the flags' address, credential and scope. CommandError for whatever goes wrong inside.

    It gives up soon, and at once where no daemon answers: somebody is waiting at a terminal.
    """
    try:
        client = Client(
            args.address,
            token_file=args.token_file,
            namespace=args.namespace,
            user_id=args.user,
            agent_id=args.agent,
            session_id=args.session,
            timeout_s=timeout_s if args.timeout is None else args.timeout,
            retry=RetryPolicy(attempts=TRIES, unreachable=False),
        )
    except OSError as exc:
        raise CommandError(f"token file {args.token_file} cannot be read: {exc.strerror}") from exc
    except errors.InvalidArgument as exc:
        raise CommandError(f"{exc.field}: {exc.message}", USAGE_ERROR) from exc
    with client:
        try:
            yield client
        except errors.Unreachable as exc:
            raise CommandError(f"no daemon answers at {exc.address}; start one with `memd serve`") from exc
        except errors.DeadlineExceeded as exc:
            raise CommandError(f"no answer from {client.address} in time; try a longer --timeout") from exc
        except MemdError as exc:
            raise CommandError(_described(exc)) from exc


def _described(error: MemdError) -> str:
    """One line: what is wrong, where in the request, and how to find it in the daemon's log."""
    named = error.field.rpartition(".")[2] in error.message
    where = "" if named else f"{error.field}: "
    error_id = error.metadata.get("error_id")
    trace = f" (error id {error_id}, see the daemon's log)" if error_id else ""
    return f"{where}{' '.join(error.message.split())}{trace}"
