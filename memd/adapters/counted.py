"""Counts of a namespace whose sessions are in another store than its settings."""

from __future__ import annotations

from collections.abc import Mapping

from memd.domain.errors import Unavailable
from memd.domain.model import NamespaceSettings, RequestKey, Scope, Written
from memd.ports import SessionStore, SettingsStore


class CountedSettings:
    """Implements ``ports.SettingsStore``: ``settings``, with the counts of ``sessions``; 0 while those cannot be had."""

    def __init__(self, settings: SettingsStore, sessions: SessionStore) -> None:
        self._settings = settings
        self._sessions = sessions

    async def settings(self, namespace: str) -> NamespaceSettings:
        return await self._settings.settings(namespace)

    async def put_settings(
        self,
        namespace: str,
        settings: NamespaceSettings,
        *,
        expected_version: int,
        writer: str,
        request: RequestKey | None,
    ) -> Written[NamespaceSettings]:
        return await self._settings.put_settings(
            namespace, settings, expected_version=expected_version, writer=writer, request=request
        )

    async def counts(self, namespace: str) -> Mapping[str, int]:
        counts = await self._settings.counts(namespace)
        try:
            there = await self._sessions.count(Scope(namespace), all_users=True)
        except Unavailable:
            there = {"sessions": 0, "events": 0}
        return {**counts, **there}
