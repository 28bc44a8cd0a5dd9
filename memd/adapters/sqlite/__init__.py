"""The embedded stores on SQLite. ``docs/adr/0005-sqlite-group-commit.md`` says why they look like this."""

from memd.adapters.sqlite.stores import SqliteStores, StoreStats
from memd.adapters.sqlite.verify import verify_offline

__all__ = ["SqliteStores", "StoreStats", "verify_offline"]
