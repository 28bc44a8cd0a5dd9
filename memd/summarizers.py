"""Which summarizer the configuration asks for. A hosted model is always asked in front of the extractive one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from memd import _core
from memd.adapters.summarize.bounded import BoundedInput
from memd.adapters.summarize.extractive import ExtractiveSummarizer
from memd.adapters.summarize.fallback import Breaker, FallbackSummarizer
from memd.adapters.summarize.protocols import PROTOCOLS
from memd.config import SummarizerConfig
from memd.domain.errors import ConfigError
from memd.ports import Clock

MAX_PROMPT_BYTES = 64 * 1024
"""Instructions longer than a page or two are not instructions."""


def hosted(
    config: SummarizerConfig, environ: Mapping[str, str], counter: _core.TokenCounter, clock: Clock
) -> FallbackSummarizer | None:
    """The model of ``config``, with extraction where it fails; None where none is configured. ConfigError for what
    cannot work; whether anybody answers at the address is seen when a summary is due."""
    protocol = PROTOCOLS.get(config.kind)
    if protocol is None:
        return None
    try:  # an extra: a daemon without a model neither has nor loads an HTTP client
        from memd.adapters.summarize import http  # noqa: PLC0415
    except ImportError as exc:
        raise ConfigError(f"summarizer.kind {config.kind} needs an HTTP client: pip install 'memd[summarize]'") from exc
    key = environ.get(protocol.key_variable, "")
    if not key and not config.base_url:
        raise ConfigError(f"summarizer.kind is {config.kind}, but {protocol.key_variable} is not set")
    if not (config.model or protocol.default_model):
        raise ConfigError(f"summarizer.kind is {config.kind}: set summarizer.model")
    settings = http.HttpSettings(
        protocol=protocol,
        prompt=_prompt(config.prompt_file) if config.prompt_file else http.default_prompt(),
        base_url=config.base_url,
        model=config.model,
        key=key,
        timeout_s=config.timeout_s,
    )
    extractive = ExtractiveSummarizer(counter)
    asked = BoundedInput(http.HttpSummarizer(settings, counter), extractive)
    return FallbackSummarizer(asked, extractive, Breaker(clock))


def _prompt(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            prompt = file.read(MAX_PROMPT_BYTES + 1).decode()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"summarizer.prompt_file {path} cannot be read") from exc
    if len(prompt) > MAX_PROMPT_BYTES or not prompt.strip():
        raise ConfigError(f"summarizer.prompt_file {path} is empty or larger than {MAX_PROMPT_BYTES:,} bytes")
    return prompt
