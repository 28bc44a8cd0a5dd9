"""``memd session``."""

from __future__ import annotations

import argparse

from memd_client import SessionSettings

from memd.cli.connect import connected
from memd.cli.errors import USAGE_ERROR, CommandError
from memd.cli.namespace import WORKING_MEMORY, given
from memd.cli.output import note, plain, print_fields, print_json


def run(args: argparse.Namespace) -> int:
    """Print what a session has of its own, or change some of it."""
    if not args.session:
        raise CommandError("session needs --session: the settings are of one", USAGE_ERROR)
    changes = given(args, WORKING_MEMORY)
    if bool(changes or args.reset) != (args.action == "set"):
        raise CommandError("set wants at least one setting or --reset, show takes none", USAGE_ERROR)
    with connected(args) as client:
        if args.action == "set":
            settings = client.update_session_settings(**changes, reset=args.reset).settings
        else:
            settings = client.working_memory().settings
    shown = plain(settings)
    if args.json:
        print_json(shown)
    else:
        print_fields({name.replace("_", " "): value for name, value in shown.items()})
        if settings == SessionSettings():
            note("nothing of its own: the namespace's settings hold")
    return 0
