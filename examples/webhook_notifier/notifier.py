"""Posts every alert to a webhook as Discord takes it, `{"content": "…"}`: start as many copies as you like.

    pip install 'tickstream-client[streams]' httpx
    WEBHOOK_URL_FILE=webhook.url REDIS_URL=redis://127.0.0.1:6379 python notifier.py

The URL is a secret, since whoever has it can post: it is read from WEBHOOK_URL_FILE (or WEBHOOK_URL) and shown nowhere.
Copies share the work as members of the group `notifier`. What the webhook has not taken stays in the group, for another copy or the
next start. An alert is posted twice only if a copy crashed, or the answer was lost, after the webhook had taken it.
"""

import asyncio
import logging
import os
import random
import signal
import sys
from contextlib import suppress
from pathlib import Path

import httpx
from tickstream_client.streams import CannotConsume, Enriched, consume

LONGEST_WAIT_SECONDS = 3600.0
log = logging.getLogger("notifier")


class Rejected(Exception):
    """The webhook said no in a way that another try would not change."""


async def notify(redis_url: str, webhook_url: str) -> None:
    """Post until SIGINT or SIGTERM; a post that is under way is finished."""
    stopping, closing = asyncio.Event(), []
    events = consume("enriched", group="notifier", redis_url=redis_url, start="now")

    def stop() -> None:
        stopping.set()
        closing.append(asyncio.create_task(events.aclose()))

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    async with httpx.AsyncClient(timeout=5) as client, events:
        async for event in events:
            # An event at which the loop is left is not acknowledged: it comes again.
            if event.alert and not await deliver(client, webhook_url, text_of(event), stopping):
                break


async def deliver(client: httpx.AsyncClient, url: str, content: str, stopping: asyncio.Event) -> bool:
    """Post until the webhook takes it; False if `stopping` was set before. Raise `Rejected`."""
    longest_seconds = 0.5
    while True:
        longest_seconds = min(60.0, 2 * longest_seconds)
        wait_seconds = random.uniform(0, longest_seconds)
        try:
            answer = await client.post(url, json={"content": content})
        except (httpx.TransportError, httpx.InvalidURL) as error:
            problem = type(error).__name__
        else:
            if answer.is_success:
                return True
            problem = f"status {answer.status_code}"
            if answer.status_code != httpx.codes.TOO_MANY_REQUESTS and not answer.is_server_error:
                # Without the body: some servers repeat the path in it, which is the secret.
                raise Rejected(f"the webhook refuses ({problem}): correct WEBHOOK_URL and start again, then what is left is posted")
            wait_seconds = asked_seconds(answer.headers.get("Retry-After", "")) or wait_seconds
        log.warning("not posted (%s), next try in %.1f s", problem, wait_seconds)
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), wait_seconds)
            return False


def asked_seconds(retry_after: str) -> float:
    """How long the webhook asks to wait; 0 if it does not say so in seconds."""
    is_number = retry_after.replace(".", "", 1).isdecimal()
    return min(float(retry_after), LONGEST_WAIT_SECONDS) if is_number else 0.0


def text_of(event: Enriched) -> str:
    """What is posted."""
    return f"{event.ticker} {event.alert}: {event.price:f} crossed its average {event.sma:f} ({event.ts:%Y-%m-%d %H:%M:%S} UTC)"


def read_secret(name: str) -> str:
    """A variable of the environment, or the file that `<name>_FILE` names."""
    file = os.environ.get(f"{name}_FILE")
    return Path(file).read_text(encoding="utf-8").strip() if file else os.environ.get(name, "")


if __name__ == "__main__":
    if not (redis_url := read_secret("REDIS_URL")):
        sys.exit("REDIS_URL must be that of the pipeline's Redis; `make run` shows it")
    if not (webhook_url := read_secret("WEBHOOK_URL")).startswith(("https://", "http://")):
        sys.exit("WEBHOOK_URL_FILE must name a file with the webhook's URL, https://…")
    logging.basicConfig(format="%(asctime)s %(message)s")  # not level INFO: httpx logs the URL of each request there
    try:
        asyncio.run(notify(redis_url, webhook_url))
    except (Rejected, CannotConsume, ValueError) as error:
        sys.exit(f"{error}")
