"""The stores on Postgres. ``docs/adr/0010-postgres-truth-and-local-replicas.md`` says why they look like this."""

from memd.adapters.postgres.connection import PostgresSettings
from memd.adapters.postgres.search_moves import SearchMoves
from memd.adapters.postgres.stores import PostgresStores

__all__ = ["PostgresSettings", "PostgresStores", "SearchMoves"]
