"""What the persister reads from the environment."""

from shared.settings import PostgresqlUrl, Settings


class PersisterSettings(Settings):
    """Settings of the persister."""

    database_url: PostgresqlUrl
    """Where the rows go."""
