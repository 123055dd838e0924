"""What the persister reads from the environment."""

from pydantic import Field

from shared.settings import PostgresqlUrl, Settings


class PersisterSettings(Settings):
    """Settings of the persister."""

    database_url: PostgresqlUrl
    """Where the rows go."""
    retention_days: int = Field(default=0, ge=0, le=36_500)
    """Rows that were received longer ago are dropped; 0: kept for ever."""
