"""What a command fails with."""

from __future__ import annotations

USAGE_ERROR = 2


class CommandError(Exception):
    """A failure in one plain line; ``exit_code`` 2 is wrong usage."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
