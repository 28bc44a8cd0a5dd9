"""Which settings hold in a namespace: the daemon's, overridden by the namespace's own."""

from __future__ import annotations

from memd.domain.compression import CompressionPolicy
from memd.domain.model import NamespaceSettings, TierName
from memd.domain.settings import DaemonDefaults, TierSettings
from memd.limits import MAX_EVENTS_PER_OBSERVE, MAX_NAMESPACES_LOADED, WORKING_HOLD
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
        items = overrides.working_max_items or working.max_items
        tokens = overrides.working_max_tokens or working.max_tokens
        compression = self._compression(overrides, items, tokens)
        if compression is not None:  # what waits for its summary must not be dropped for waiting
            items = max(WORKING_HOLD * items, items + MAX_EVENTS_PER_OBSERVE)
            tokens = WORKING_HOLD * tokens
        return SessionPolicy(
            working_max_items=items,
            working_max_tokens=tokens,
            episodic_max_items=overrides.episodic_max_items or episodic.max_items,
            ttl_us=ttl_us,
            compression=compression,
        )

    def _compression(self, overrides: NamespaceSettings, items: int, tokens: int) -> CompressionPolicy | None:
        ours = self._defaults.compression
        if not (ours.enabled if overrides.compress is None else overrides.compress):
            return None
        return CompressionPolicy(
            max_items=items,
            max_tokens=tokens,
            at=overrides.compress_at or ours.at,
            keep=overrides.compress_keep or ours.keep,
            to=overrides.compress_to or ours.to,
            summary_share=overrides.summary_share or ours.summary_share,
        )
