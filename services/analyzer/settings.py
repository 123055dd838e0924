"""What the analyzer reads from the environment."""

from pydantic import Field

from shared.settings import Settings


class AnalyzerSettings(Settings):
    """Settings of the analyzer."""

    replay_window_seconds: float = Field(default=3600, ge=0, le=10 * 365 * 86_400, allow_inf_nan=False)
    """How long entries are kept for late readers although every group has read them."""
