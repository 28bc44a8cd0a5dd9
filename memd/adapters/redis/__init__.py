"""Sessions and checkpoints on Redis 7.0 and newer, or Valkey: one server, Sentinel or a cluster."""

from memd.adapters.redis.checkpoints import RedisCheckpoints
from memd.adapters.redis.erasure import RedisErasure
from memd.adapters.redis.link import RedisLink
from memd.adapters.redis.persistence import RedisFacts
from memd.adapters.redis.session_marks import RedisSessionMarks
from memd.adapters.redis.sessions import RedisSessions
from memd.adapters.redis.settings import RedisSettings

__all__ = [
    "RedisCheckpoints",
    "RedisErasure",
    "RedisFacts",
    "RedisLink",
    "RedisSessionMarks",
    "RedisSessions",
    "RedisSettings",
]
