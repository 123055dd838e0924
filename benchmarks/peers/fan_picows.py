"""picows, WebSockets in Cython: every update to all. `fan_picows.py PORT REDIS_URL plain`."""

import sys

import uvloop
from picows import WSListener, WSMsgType, WSTransport, ws_create_server
from updates import updates

clients: set[WSTransport] = set()


class Client(WSListener):
    """A connection."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Greet."""
        transport.send(WSMsgType.TEXT, b"{}")
        clients.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Forget."""
        clients.discard(transport)


async def main(port: str, url: str, _: str) -> None:
    """Run until killed."""
    await ws_create_server(lambda _: Client(), "127.0.0.1", int(port), backlog=4096)
    async for text in updates(url):
        payload = text.encode()
        for client in clients:
            client.send(WSMsgType.TEXT, payload)


uvloop.run(main(*sys.argv[1:]))
