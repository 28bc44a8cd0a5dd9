"""Which settings hold in a namespace: the daemon's, overridden by the namespace's own."""

from __future__ import annotations

from memd.domain.compression import CompressionPolicy
from memd.domain.model import NamespaceSettings, TierName
from memd.domain.settings import DaemonDefaults, TierSettings
from memd.limits import MAX_NAMESPACES_LOADED
from memd.ports import SessionPolicy, SettingsStore


class PolicySource:
    """Reads a namespace's overrides once and keeps them until ``invalidate``; used on the event loop alone."""

    def __init__(self, store: SettingsStore, defaults: DaemonDefaults) -> None:
        self._store = store
        self._defaults = defaults
        self._cache: dict[str, tuple[NamespaceSettings, SessionPolicy]] = {}
        self._generation = 0

    @property
    def defaults(self) -> DaemonDefaults:
        return self._defaults

    def tier(self, name: TierName) -> TierSettings:
        return self._defaults.tiers[name]

    async def policy(self, namespace: str) -> SessionPolicy:
        return self.known_policy(namespace) or (await self._read(namespace))[1]

    def known_policy(self, namespace: str) -> SessionPolicy | None:
        """The policy, where it needs no read."""
        cached = self._cache.get(namespace)
        return cached[1] if cached else None

    def default_policy(self) -> SessionPolicy:
        """What holds where nothing is overridden."""
        return self._merged(NamespaceSettings())

    async def checkpoint_history(self, namespace: str) -> int:
        overrides, _ = self._cache.get(namespace) or await self._read(namespace)
        return overrides.checkpoint_history or self._defaults.checkpoint_history

    async def _read(self, namespace: str) -> tuple[NamespaceSettings, SessionPolicy]:
        generation = self._generation
        settings = await self._store.settings(namespace)
        both = settings, self._merged(settings)
        if generation == self._generation:  # else it was changed meanwhile and may be stale
            if len(self._cache) >= MAX_NAMESPACES_LOADED:
                self._cache.clear()
            self._cache[namespace] = both
        return both

    def invalidate(self, namespace: str) -> None:
        self._generation += 1
        self._cache.pop(namespace, None)

    def _merged(self, overrides: NamespaceSettings) -> SessionPolicy:
        working, episodic = self.tier(TierName.WORKING), self.tier(TierName.EPISODIC)
        ttl_us = overrides.episodic_ttl_us or episodic.ttl_us
        if ttl_us is None:
            raise ValueError("the episodic tier has no ttl; check_defaults refuses that")
        ours = self._defaults.compression
        limits = CompressionPolicy(
            max_items=overrides.working_max_items or working.max_items,
            max_tokens=overrides.working_max_tokens or working.max_tokens,
            at=overrides.compress_at or ours.at,
            keep=overrides.compress_keep or ours.keep,
            to=overrides.compress_to or ours.to,
            summary_share=overrides.summary_share or ours.summary_share,
        )
        return SessionPolicy.of(
            limits,
            compressed=ours.enabled if overrides.compress is None else overrides.compress,
            episodic_max_items=overrides.episodic_max_items or episodic.max_items,
            ttl_us=ttl_us,
        )
