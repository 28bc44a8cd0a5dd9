"""memd.toml < MEMD_* < flags; what is unknown or out of range is refused with its name."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from memd import config
from memd.domain.errors import ConfigError
from memd.domain.model import TierName

ENVIRON = {"HOME": "/home/x", "XDG_RUNTIME_DIR": "/run/user/7"}


def _toml(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "memd.toml"
    path.write_text(content)
    return path


def test_defaults_are_private_and_local() -> None:
    made = config.load(environ=ENVIRON)
    assert made.storage.data_dir == Path("/home/x/.local/share/memd")
    assert made.server.socket == "/run/user/7/memd/memd.sock"
    assert made.server.listen == ""
    assert stat.filemode(made.server.socket_mode | stat.S_IFSOCK) == "srw-------"
    assert not made.server.reflection


def test_later_wins(tmp_path: Path) -> None:
    path = _toml(tmp_path, '[server]\ndrain = "1m"\nsocket = "/a"\n[log]\nlevel = "debug"\n[storage]\ndata_dir = "/d"')
    environ = {**ENVIRON, "MEMD_SERVER_DRAIN": "2s", "MEMD_LOG_LEVEL": "error"}
    made = config.load(path, {"log.level": "warning", "server.socket": None}, environ)
    assert (made.server.drain_s, made.server.socket, made.log.level) == (2.0, "/a", "warning")


def test_a_tcp_daemon_needs_no_socket() -> None:
    made = config.load(None, {"server.listen": "127.0.0.1:7700"}, ENVIRON)
    assert made.server.socket == ""


def test_every_cell_of_the_tier_table_is_configuration(tmp_path: Path) -> None:
    path = _toml(
        tmp_path,
        '[tiers.working]\nmax_items = 7\nmax_tokens = 99\n[tiers.semantic]\nttl = "2d"\n'
        'retrieval = "words"\n[tiers.episodic]\nttl = 60\n[checkpoints]\nttl = "2h"\nhistory = 9',
    )
    made = config.load(path, environ=ENVIRON).defaults
    assert (made.tiers[TierName.WORKING].max_items, made.tiers[TierName.WORKING].max_tokens) == (7, 99)
    assert made.tiers[TierName.SEMANTIC].ttl_us == 2 * 86_400 * 10**6
    assert made.tiers[TierName.SEMANTIC].retrieval == "words"
    assert made.tiers[TierName.EPISODIC].ttl_us == 60 * 10**6
    assert (made.checkpoint_ttl_us, made.checkpoint_history) == (7_200 * 10**6, 9)


@pytest.mark.parametrize(
    ("servers", "sessions", "rest"),
    [
        ((), "sqlite", "sqlite"),
        (("redis",), "redis", "sqlite"),
        (("postgres",), "postgres", "postgres"),
        (("redis", "postgres"), "redis", "postgres"),
    ],
)
def test_the_urls_say_where_the_tiers_live(servers: tuple[str, ...], sessions: str, rest: str) -> None:
    made = config.load(None, {f"{name}.url": f"{name}://secret@host" for name in servers}, ENVIRON)
    stores = {tier: row.store for tier, row in made.defaults.tiers.items()}
    assert stores == {
        TierName.WORKING: sessions,
        TierName.EPISODIC: sessions,
        TierName.SEMANTIC: rest,
        TierName.PROCEDURAL: rest,
    }
    assert made.checkpoints_store == rest
    assert "secret" not in repr(made)


def test_a_url_may_be_kept_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://memd:secret@db/memd\n")
    made = config.load(None, {"postgres.url_file": str(tmp_path / "url")}, ENVIRON)
    assert made.postgres.url == "postgresql://memd:secret@db/memd"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[server]\nsokcet = 1", "unknown configuration key server.sokcet; did you mean server.socket"),
        ("[tiers.working]\nmax_item = 1", "did you mean tiers.working.max_items"),
        ("[tiers.long]\nstore = 'x'", "unknown configuration key tiers.long.store"),
        ("colour = 1", "unknown configuration key colour"),
        ("[server]\nsocket_mode = 'rw'", "server.socket_mode must be an octal mode"),
        ("[server]\nsocket_mode = '0444'", "server.socket_mode"),
        ("[server]\ndrain = 'soon'", "server.drain must be seconds"),
        ("[server]\ndrain = -1", "server.drain"),
        ("[server]\nreflection = 'perhaps'", "server.reflection must be true or false"),
        ("[embedding]\nthreads = 1.5", "embedding.threads must be a whole number"),
        ("[embedding]\nthreads = 100000", "embedding.threads must be between"),
        ("[log]\nlevel = 'loud'", "log.level must be one of"),
        ("[tiers.working]\nmax_items = 0", "tiers.working.max_items must be between"),
        ("[tiers.working]\nstore = 'disk'", "tiers.working.store must be one of"),
        ("[tiers.semantic]\nstore = 'redis'", "tiers.semantic.store must be one of"),
        ("[tiers.working]\nstore = 'redis'", "tiers.working.store and tiers.episodic.store must be the same"),
        ("[tiers.semantic]\nstore = 'postgres'", "tiers.semantic.store and tiers.procedural.store must be the same"),
        ("[redis]\nurl = 'redis://x'\nurl_file = '/x'", "give redis.url or redis.url_file, not both"),
        ("[postgres]\nurl_file = '/nowhere'", "postgres.url_file /nowhere cannot be read"),
        (
            "[postgres]\nurl = 'postgresql://x'\n[checkpoints]\nstore = 'sqlite'",
            "checkpoints.store must be redis or postgres",
        ),
        ("[replica]\nmax_stale = 0", "replica.max_stale must be between"),
        ("[tiers.semantic]\nretrieval = 'luck'", "tiers.semantic.retrieval must be one of"),
        ("[tiers.episodic]\nttl = 'never'", "tiers.episodic.ttl must be set"),
        ("[checkpoints]\nhistory = 0", "checkpoints.history must be between"),
        ("[checkpoints]\nstore = 'redis'", "a store is redis, but redis.url is not set"),
        ("server = 1", "unknown configuration key server"),
        ("[server", "is not TOML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(_toml(tmp_path, content), environ=ENVIRON)
    assert message in caught.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path / "none.toml", environ=ENVIRON)


def test_a_misspelt_variable_is_refused_and_what_kubernetes_sets_is_not() -> None:
    with pytest.raises(ConfigError, match="MEMD_SERVER_SOKCET; did you mean MEMD_SERVER_SOCKET"):
        config.load(environ={**ENVIRON, "MEMD_SERVER_SOKCET": "/x"})
    kubernetes = {
        "MEMD_SERVER_SERVICE_HOST": "10.0.0.1",
        "MEMD_SERVER_SERVICE_PORT_GRPC": "7700",
        "MEMD_SERVER_PORT": "tcp://10.0.0.1:7700",
        "MEMD_SERVER_PORT_7700_TCP_ADDR": "10.0.0.1",
    }
    config.load(environ={**ENVIRON, **kubernetes})


def test_flags_are_checked_like_files() -> None:
    wrong: dict[str, Any] = {"server.socket_mode": 0o177}
    with pytest.raises(ConfigError):
        config.load(None, wrong, ENVIRON)
    with pytest.raises(ConfigError, match="unknown"):
        config.load(None, {"server.port": 1}, ENVIRON)


def test_the_values_are_frozen() -> None:
    made = config.load(environ=ENVIRON)
    with pytest.raises(AttributeError):
        made.server.socket = "/elsewhere"  # type: ignore[misc]


def test_every_key_is_documented_and_nothing_else() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "configuration.md").read_text(encoding="utf-8")
    documented = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")}
    assert documented == set(config.keys())
