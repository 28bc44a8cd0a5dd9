"""Bugs planted on purpose, to see that the suite finds them."""

from __future__ import annotations

import os

VARIABLE = "MEMD_TEST_PLANT"


def plant_from_environment() -> None:
    """Break what the environment names."""
    for name in filter(None, os.environ.get(VARIABLE, "").split(",")):
        globals()[name.rpartition(":")[2]]()
