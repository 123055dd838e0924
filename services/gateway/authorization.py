"""Lets a client in that shows a token: in the handshake, or as its first message; until then it is sent nothing but errors.

A browser cannot see the status of a refused handshake. So a bad token is answered after the upgrade, by a close code.
"""

import asyncio
import time
from collections.abc import Callable
from itertools import pairwise

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed

from services.gateway import protocol
from services.gateway.close_codes import BAD_MESSAGES, UNAUTHORIZED, CloseCode
from services.gateway.permits import Fault, Permit
from services.gateway.protocol import MOST_ERRORS, Auth, Error, ErrorCode

Check = Callable[[str, float], Permit | Fault]
"""Judges a token at an epoch second."""
FIRST = Error(ErrorCode.UNAUTHORIZED, 'show a token first: {"action":"auth","token":…}')


class Authorization:
    """What a gateway demands of its clients. Without a `check` it demands nothing; `note` counts what was refused."""

    def __init__(self, check: Check | None, token_seconds: float, note: Callable[[str], None]) -> None:
        self._check = check
        self._token_seconds = token_seconds
        self._note = note

    @property
    def takes_tokens(self) -> bool:
        """Whether there is a key to check tokens with."""
        return self._check is not None

    def judge(self, token: str) -> Permit | None:
        """What a token permits now; None if it is worth nothing."""
        assert self._check is not None
        found = self._check(token, time.time())
        if isinstance(found, Permit):
            return found
        self._refuse(found)
        return None

    async def permit(self, websocket: ServerConnection) -> Permit | CloseCode:
        """What a client that has just connected may see, or how its connection ends."""
        if self._check is None:
            return Permit()
        token = offered_token(websocket.request.headers) if websocket.request else None
        if token is not None:
            return self.judge(token) or UNAUTHORIZED
        try:
            async with asyncio.timeout(self._token_seconds):
                return await self._first_message(websocket)
        except TimeoutError:
            self._refuse(Fault.MISSING)
        except ConnectionClosed:
            pass
        return UNAUTHORIZED

    async def _first_message(self, websocket: ServerConnection) -> Permit | CloseCode:
        for _ in range(MOST_ERRORS):
            message = await websocket.recv()
            if isinstance(message, bytes):
                break
            command = protocol.parse_command(message)
            if isinstance(command, Auth):
                return self.judge(command.token) or UNAUTHORIZED
            await websocket.send(protocol.encode_error(FIRST), text=True)
        return BAD_MESSAGES

    def _refuse(self, fault: Fault) -> None:
        self._note(f"token_{fault}")


def offered_token(headers: Headers) -> str | None:
    """The token of a handshake: `Authorization: Bearer …` (RFC 6750), else what follows `bearer` among the subprotocols."""
    schemes = [value.strip().partition(" ") for value in headers.get_all("Authorization")]
    tokens = [token.strip() for scheme, _, token in schemes if scheme.lower() == "bearer"]
    if tokens:
        return tokens[0] if len(tokens) == 1 else ""
    offered = [name.strip() for value in headers.get_all("Sec-WebSocket-Protocol") for name in value.split(",")]
    return next((token for name, token in pairwise(offered) if name == "bearer"), None)
