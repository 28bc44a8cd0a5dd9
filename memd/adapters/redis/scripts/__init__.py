"""The Lua scripts, each run whole by the server: what one changes is changed at once or not at all."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """``sha`` is how EVALSHA names it."""

    name: str
    body: str
    sha: str


def _load(name: str) -> Script:
    here = files(__name__)
    body = "\n".join((here / part).read_text(encoding="utf-8") for part in ("prelude.lua", f"{name}.lua"))
    return Script(name, body, hashlib.sha1(body.encode(), usedforsecurity=False).hexdigest())


APPEND = _load("append")
RECENT = _load("recent")
EPISODES = _load("episodes")
COMPRESS = _load("compress")
REVISE = _load("revise")
CONFIGURE = _load("configure")
CLEAR = _load("clear")
END = _load("end")
ERASE = _load("erase")
SINCE = _load("since")
MARK = _load("mark")
TAKE = _load("take")
REGISTER = _load("register")
DROP = _load("drop")
DUE = _load("due")
RESCHEDULE = _load("reschedule")
SAVE = _load("save")
LOAD = _load("load")
REMOVE = _load("remove")
ENLIST = _load("enlist")
STRIKE = _load("strike")
PRUNE = _load("prune")
