"""The floor under any latency: XADD → XREAD BLOCK → socket in one process, nothing judged, nothing encoded. `chain.py REDIS_URL`."""

import asyncio
import sys
import time

from redis.asyncio import Redis
from turns import take_turns

(URL,) = sys.argv[1:]


async def measure(rate: int, seconds: float) -> list[float]:
    """Milliseconds from before each XADD until its text was read from the socket."""
    arrived: list[float] = []
    begun: list[float] = []

    async def receive(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            arrived.append(1000 * (time.monotonic() - begun[int(line)]))

    server = await asyncio.start_server(receive, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    async with (
        Redis.from_url(URL, protocol=3, decode_responses=True) as redis,
        Redis.from_url(URL, protocol=3, decode_responses=True) as other,
    ):
        await redis.delete("chain")
        passing = asyncio.create_task(pass_on(other, writer))
        await asyncio.sleep(0.1)
        start = time.monotonic()
        for n in range(int(rate * seconds)):
            await asyncio.sleep(max(0, start + n / rate - time.monotonic()))
            begun.append(time.monotonic())
            await redis.xadd("chain", {"n": n, "ticker": "AAPL", "price": "255.78"})
        async with asyncio.timeout(60):
            while len(arrived) < len(begun):
                await asyncio.sleep(0.01)
        passing.cancel()
        await redis.delete("chain")
    writer.close()
    server.close()
    return arrived


async def pass_on(redis: Redis, writer: asyncio.StreamWriter) -> None:
    """Read and write until cancelled."""
    last_id = "$"
    while True:
        found = await redis.xread({"chain": last_id}, block=1000)
        for entry_id, entry in found["chain"][0] if found else ():
            last_id = entry_id
            writer.write(f"{entry['n']}\n".encode())


take_turns(measure)
