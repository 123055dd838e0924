"""Django Channels with channels_redis on uvicorn: every update as `group_send`. `fan_channels.py PORT REDIS_URL plain|deflate`.

The capacity is raised as the documentation advises: with the default of 100, messages to more than some 90 clients are dropped. So
are redis-py's 100 connections, which many clients that join at once exhaust, and its patience, which ends with the layer's own BLOCK.
"""

import asyncio
import sys

import django
import uvicorn
import uvloop
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.urls import path
from updates import updates

PORT, URL, FORM = sys.argv[1:]


class Stocks(AsyncWebsocketConsumer):
    """A connection."""

    async def connect(self) -> None:
        """Join the group and greet."""
        await self.channel_layer.group_add("stocks", self.channel_name)
        await self.accept()
        await self.send("{}")

    async def disconnect(self, code: int) -> None:
        """Leave the group."""
        await self.channel_layer.group_discard("stocks", self.channel_name)

    async def update(self, event: dict[str, str]) -> None:
        """Pass on."""
        await self.send(event["text"])


async def pass_on() -> None:
    """Run until killed."""
    layer = get_channel_layer()
    async for text in updates(URL):
        await layer.group_send("stocks", {"type": "update", "text": text})


async def serve() -> None:
    """Serve and pass on."""
    app = ProtocolTypeRouter({"websocket": URLRouter([path("ws/stocks/", Stocks.as_asgi())])})
    config = uvicorn.Config(
        app, host="127.0.0.1", port=int(PORT), log_level="error", lifespan="off", ws_ping_interval=None,
        ws_per_message_deflate=FORM == "deflate", backlog=4096,
    )  # fmt: skip
    passing = asyncio.create_task(pass_on())
    await uvicorn.Server(config).serve()
    passing.cancel()


def run(layer: str, **options: object) -> None:
    """Run with this channel layer until killed."""
    host = {"address": URL, "socket_timeout": None, "max_connections": 10_000}
    layers = {"default": {"BACKEND": layer, "CONFIG": {"hosts": [host], **options}}}
    settings.configure(INSTALLED_APPS=["channels"], SECRET_KEY="bench", CHANNEL_LAYERS=layers)
    django.setup()
    uvloop.run(serve())


if __name__ == "__main__":
    run("channels_redis.core.RedisChannelLayer", capacity=100_000)
