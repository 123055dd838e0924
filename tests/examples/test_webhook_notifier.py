"""`examples/webhook_notifier` beside the real pipeline and a webhook that has bad moments: each alert is posted once."""

import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from examples.webhook_notifier.notifier import asked_seconds
from shared import streams
from tests.e2e.pipeline import ROOT, Pipeline, Service
from tests.examples.running import PARTITIONS, outcome, speed, started
from tests.fakes.webhook import SECRET, Answer, FakeWebhook

NOTIFIER = str(ROOT / "examples/webhook_notifier/notifier.py")


@pytest.fixture
def webhook() -> Iterator[FakeWebhook]:
    """The webhook that is posted to."""
    with FakeWebhook() as running:
        yield running


def notifying(folder: Path, redis_url: str, webhook: FakeWebhook) -> AbstractContextManager[Service]:
    """A copy of the notifier, told its secret in a file."""
    secret = folder / "webhook.url"
    secret.write_text(f"{webhook.url}\n", encoding="utf-8")
    return started(folder, sys.executable, NOTIFIER, REDIS_URL=redis_url, WEBHOOK_URL_FILE=str(secret))


def expected() -> Counter[str]:
    """Ticker, direction and price of every alert."""
    return Counter(f"{event.ticker} {event.alert}: {event.price}" for _, event in outcome().alerts)


def posted(webhook: FakeWebhook) -> Counter[str]:
    """The same of every post that was taken."""
    return Counter(content.partition(" crossed its average ")[0] for content in webhook.taken)


async def until_posts(pipeline: Pipeline, webhook: FakeWebhook, count: int) -> None:
    """Wait for so many posts."""

    async def have_come() -> bool:
        return webhook.posts >= count

    await pipeline.until(have_come, f"{count} posts")


async def until_taken(pipeline: Pipeline, webhook: FakeWebhook) -> None:
    """Wait until as many posts were taken as there are alerts."""

    async def have_been() -> bool:
        return len(webhook.taken) >= expected().total()

    await pipeline.until(have_been, "all posts")


async def start_playing(pipeline: Pipeline, redis: Any, webhook: FakeWebhook, notifier: Service) -> None:
    """Play the market for a notifier that is there before it: its group begins with the first alert, in every partition."""

    answer = webhook.answer

    async def waits() -> bool:
        return all(f"partition {p}:" in notifier.text for p in range(PARTITIONS))

    async def has_groups() -> bool:
        names = [group["name"] for p in range(PARTITIONS) for group in await redis.xinfo_groups(streams.enriched(p))]
        return names.count("notifier") == PARTITIONS

    await pipeline.until(waits, "the notifier to wait for the streams")
    webhook.answer = lambda number: Answer(429, "0.05")
    pipeline.start("analyzer")
    pipeline.start("fetcher")
    await until_posts(pipeline, webhook, 1)
    await pipeline.until(has_groups, "the notifier's groups")
    webhook.answer = answer


async def end(notifier: Service, number: signal.Signals) -> None:
    """Ask it to end: it does so quietly."""
    notifier.process.send_signal(number)
    assert await notifier.finish() == 0
    assert "Traceback" not in notifier.text


def bad_moments(number: int) -> Answer:
    """Too many requests now and then, and a fault twice."""
    if number in (30, 130):
        return Answer(500)
    return Answer(429, "0.05") if number % 20 == 0 else Answer()


async def test_copies_that_come_and_go_post_each_alert_once(
    playing: Pipeline, redis: Any, redis_url: str, tmp_path: Path, webhook: FakeWebhook
) -> None:
    webhook.answer = bad_moments
    with notifying(tmp_path, redis_url, webhook) as first:
        await start_playing(playing, redis, webhook, first)
        await until_posts(playing, webhook, 40)
        with notifying(tmp_path, redis_url, webhook) as second:
            await until_posts(playing, webhook, 80)
            await end(first, signal.SIGTERM)
            await until_taken(playing, webhook)
            await end(second, signal.SIGINT)
        output = first.text + second.text
    assert "not posted (status 429), next try in 0.1 s" in output
    assert "not posted (status 500), next try in " in output
    assert posted(webhook) == expected()
    assert SECRET not in output


async def test_however_a_copy_ends_the_next_one_goes_on_with_the_alert_that_was_not_taken(
    playing: Pipeline, redis: Any, redis_url: str, tmp_path: Path, webhook: FakeWebhook
) -> None:
    with notifying(tmp_path, redis_url, webhook) as stopped_in_a_post:
        await start_playing(playing, redis, webhook, stopped_in_a_post)
        await until_posts(playing, webhook, 10)
        webhook.may_answer.clear()
        await until_posts(playing, webhook, webhook.posts + 1)
        stopped_in_a_post.terminate()
        webhook.may_answer.set()
        assert await stopped_in_a_post.finish() == 0
    webhook.answer = lambda number: Answer(429, "3600")
    with notifying(tmp_path, redis_url, webhook) as stopped_in_a_wait:

        async def waits() -> bool:
            return "not posted (status 429), next try in 3600.0 s" in stopped_in_a_wait.text

        await playing.until(waits, "a long wait")
        await end(stopped_in_a_wait, signal.SIGINT)
    webhook.answer = lambda number: Answer(404)
    with notifying(tmp_path, redis_url, webhook) as refused:
        assert await refused.finish() == 1
        assert "the webhook refuses (status 404): correct WEBHOOK_URL" in refused.text
    webhook.answer = lambda number: Answer()
    with notifying(tmp_path, redis_url, webhook) as last:
        await until_taken(playing, webhook)
        await end(last, signal.SIGTERM)
        output = stopped_in_a_post.text + stopped_in_a_wait.text + refused.text + last.text
    assert posted(webhook) == expected()
    assert SECRET not in output
    assert "Traceback" not in output


@pytest.mark.parametrize(("variables", "text"), [({}, "REDIS_URL"), ({"REDIS_URL": "redis://x", "WEBHOOK_URL": "x"}, "WEBHOOK_URL_FILE")])
async def test_it_says_what_is_missing(tmp_path: Path, variables: dict[str, str], text: str) -> None:
    with started(tmp_path, sys.executable, NOTIFIER, **variables) as notifier:
        assert await notifier.finish() == 1
        assert text in notifier.text


async def test_a_url_that_is_none_is_not_shown(playing: Pipeline, redis_url: str, tmp_path: Path) -> None:
    variables = {"REDIS_URL": redis_url, "WEBHOOK_URL": f"http://127.0.0.1:{SECRET}"}
    playing.start("analyzer")
    with started(tmp_path, sys.executable, NOTIFIER, **variables) as notifier:
        playing.start("fetcher", REPLAY_SPEED=speed(3))

        async def has_said() -> bool:
            return "not posted (InvalidURL)" in notifier.text

        await playing.until(has_said, "the notifier to complain")
        notifier.process.send_signal(signal.SIGTERM)
        assert await notifier.finish() == 0
        assert SECRET not in notifier.text


@pytest.mark.parametrize(
    ("header", "seconds"), [("", 0), ("1.5", 1.5), ("0", 0), ("99999", 3600), ("-1", 0), ("nan", 0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0)]
)
def test_a_webhook_may_ask_for_a_time(header: str, seconds: float) -> None:
    assert asked_seconds(header) == seconds
