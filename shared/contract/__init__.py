"""What other programs may rely on, as models: every entry of a stream, every message of the WebSocket, every command of a client.

For documents and for judging, never on the path of a tick: no service imports them, and no image holds them. What is generated from
them lies in services/api/static/contract (`make docs`); what was promised of them in tests/contract/v1.
"""

VERSION = "v1"
"""Of all of them together. What breaks a reader of v1 becomes v2, beside it."""
