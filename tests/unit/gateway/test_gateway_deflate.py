"""Which offers of compression are accepted, and what is answered."""

import pytest
from websockets.datastructures import Headers
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.server import ServerProtocol

from services.gateway.deflate import SharedDeflate

BOTH = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


def negotiate(*offers: str) -> str | None:
    """The answer of a server to headers of a client."""
    headers = Headers([("Sec-WebSocket-Extensions", offer) for offer in offers])
    answer, extensions = ServerProtocol(extensions=[SharedDeflate()]).process_extensions(headers)
    assert len(extensions) == (answer is not None)
    return answer


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("permessage-deflate", BOTH),
        ("permessage-deflate; client_max_window_bits", BOTH),  # Chrome, Firefox, websockets, ws
        ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", BOTH),
        ("permessage-deflate; server_max_window_bits=15", f"{BOTH}; server_max_window_bits=15"),
        ("permessage-deflate; client_max_window_bits=10", f"{BOTH}; client_max_window_bits=10"),
        ("permessage-deflate; client_max_window_bits=8", f"{BOTH}; client_max_window_bits=8"),
        ("x-webkit-deflate-frame, permessage-deflate", BOTH),
        ("permessage-deflate; server_max_window_bits=10, permessage-deflate", BOTH),
        ("permessage-deflate, permessage-deflate; client_max_window_bits=9", BOTH),
    ],
)
def test_first_offer_that_serves_is_accepted(offer: str, answer: str) -> None:
    assert negotiate(offer) == answer


@pytest.mark.parametrize(
    "offer",
    [
        *(f"permessage-deflate; server_max_window_bits={bits}" for bits in range(8, 15)),
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=015",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; unheard_of",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-bzip2",
    ],
)
def test_offer_that_cannot_be_served_is_declined_and_the_connection_plain(offer: str) -> None:
    assert negotiate(offer) is None


def test_client_that_offers_nothing_is_answered_nothing() -> None:
    assert negotiate() is None


def test_offers_in_several_headers_are_one_list() -> None:
    assert negotiate("permessage-deflate; server_max_window_bits=9", "permessage-deflate") == BOTH


def test_nothing_is_kept_for_a_connection_between_messages() -> None:
    _, extension = SharedDeflate().process_request_params([], [])
    assert isinstance(extension, PerMessageDeflate)
    assert not hasattr(extension, "decoder")
    assert not hasattr(extension, "encoder")
