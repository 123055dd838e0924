"""Redis and PostgreSQL as children of this process, for machines that have neither.

`EmbeddedRedis` and `EmbeddedPostgres` are context managers. They listen on loopback only, keep their data in the
directory they are given, and never outlive the process that started them.
"""

from services.admin.embedded.errors import DataUnusable, EmbeddedError, NoServer, ServerFailed, WrongData
from services.admin.embedded.ports import find_free_port, is_port_free
from services.admin.embedded.postgres import EmbeddedPostgres
from services.admin.embedded.redis import EmbeddedRedis

__all__ = [
    "DataUnusable",
    "EmbeddedError",
    "EmbeddedPostgres",
    "EmbeddedRedis",
    "NoServer",
    "ServerFailed",
    "WrongData",
    "find_free_port",
    "is_port_free",
]
