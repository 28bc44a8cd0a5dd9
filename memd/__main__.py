"""``python -m memd`` and the ``memd`` command."""

from __future__ import annotations

import sys

from memd import grpc_environment  # noqa: F401  (before grpc is imported)
from memd.cli import main as run


def main() -> int:
    """Run the command line on the process's arguments."""
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
