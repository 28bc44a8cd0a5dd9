"""Fault injection for the tests of the promises: a VFS that fails, planted bugs. Dead unless ``MEMD_TESTING=1``.

``MEMD_TEST_VFS=module:function`` names a function that registers an SQLite VFS and returns its name.
``MEMD_TEST_PLANT=module:function`` (several parted by commas) names functions that break something on purpose, to show
that a test finds it. Both run before anything is opened. This is the only place of memd that imports by name, and the
name comes from the operator's environment, never from data.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from memd.domain.errors import ConfigError

SWITCH = "MEMD_TESTING"
VFS = "MEMD_TEST_VFS"
PLANT = "MEMD_TEST_PLANT"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the tests put in: the name of a VFS, or None for SQLite's own."""

    vfs: str | None = None


def install(environ: Mapping[str, str]) -> Hooks:
    """Run the hooks the environment names. ConfigError when it names one without ``MEMD_TESTING=1``."""
    named = [name for name in (VFS, PLANT) if environ.get(name)]
    if not named:
        return Hooks()
    if environ.get(SWITCH) != "1":
        raise ConfigError(f"{' and '.join(named)} is for tests and needs {SWITCH}=1")
    log.warning("test hooks are on: this daemon fails on purpose")
    for plant in filter(None, environ.get(PLANT, "").split(",")):
        _function(plant)()
    return Hooks(vfs=str(_function(environ[VFS])()) if environ.get(VFS) else None)


def _function(name: str) -> Any:
    module, colon, function = name.partition(":")
    if not colon:
        raise ConfigError(f"a test hook is module:function, not {name}")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as exc:
        raise ConfigError(f"the test hook {name} is not there") from exc
