"""The token that `watch` and `up` show to gateways that want one."""

import os
from pathlib import Path

from tickstream_client.subscription import Token

from services.admin.settings import UpSettings, WatchSettings
from shared.settings import read_settings


def gateway_token(settings: UpSettings | WatchSettings) -> Token:
    """That of the settings; one that came from a file is read from there again each time, since whoever renews it writes it there."""
    # What is no file, such as a pipe, gives what it has once.
    if Path(os.environ.get("GATEWAY_TOKEN_FILE", "")).is_file():
        return _read_again
    return settings.gateway_token.get_secret_value() or None


def _read_again() -> str:
    return read_settings(WatchSettings).gateway_token.get_secret_value()
