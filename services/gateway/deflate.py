"""Which offers of compression are accepted: only those under which everybody can be sent the same bytes.

That is permessage-deflate (RFC 7692) without context take-over and with the full window. An offer that demands a smaller window
is declined, so that the client's next offer counts, and without one the connection is plain.
"""

from collections.abc import Sequence

from websockets.exceptions import NegotiationError
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.typing import ExtensionParameter

from services.gateway.frames import FULL_WINDOW


class SharedDeflate(ServerPerMessageDeflateFactory):
    """Accepts an offer of permessage-deflate if frames that were compressed once will do.

    The client is told not to take over context either: what it sends is small, and a decoder kept for each costs 40 KiB.
    """

    def __init__(self) -> None:
        super().__init__(server_no_context_takeover=True, client_no_context_takeover=True)

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[ExtensionParameter], PerMessageDeflate]:
        """Answer one offer; raise `NegotiationError` to decline it."""
        answer, extension = super().process_request_params(params, accepted_extensions)
        if extension.local_max_window_bits != FULL_WINDOW:
            raise NegotiationError("one frame for all has the full window")
        return answer, extension
