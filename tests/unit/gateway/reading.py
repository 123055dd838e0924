"""Reads frames as a client does: with the parser of websockets, which knows nothing of the gateway's code."""

from collections.abc import Callable

from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame
from websockets.protocol import State
from websockets.uri import parse_uri

from services.gateway import frames
from services.gateway.outbox import Limits, Outbox, Pending
from services.gateway.protocol import Subscription

URI = parse_uri("ws://localhost/")


def read_frames(data: bytes, *, is_compressing: bool = False) -> list[Frame]:
    """Every frame in what was received; raise what the parser says of a malformed one."""
    protocol = ClientProtocol(URI, state=State.OPEN, max_size=None)
    if is_compressing:
        protocol.extensions = [PerMessageDeflate(True, True, 15, 15)]
    protocol.receive_data(data)
    if protocol.parser_exc is not None:
        raise protocol.parser_exc
    return [event for event in protocol.events_received() if isinstance(event, Frame)]


def text_of(frame: frames.Frame) -> bytes:
    """The text that a client without compression reads."""
    (read,) = read_frames(frame.plain)
    return bytes(read.data)


class ReadOutbox(Outbox):
    """An outbox whose messages go to whoever made it, at second 0."""

    __slots__ = ("_to",)

    def __init__(
        self, encode: Callable[[Subscription, Pending], frames.Frames], to: Callable[[frames.Frame], None], limits: Limits
    ) -> None:
        super().__init__(encode, limits, 0.0)
        self._to = to

    def write(self, frame: frames.Frame) -> None:
        """Pass a message on."""
        self._to(frame)
