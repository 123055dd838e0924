"""A whole history as a file: any length, constant memory, and nobody else waits for it."""

import asyncio
import csv
import io
import tracemalloc

import asyncpg
import pytest

from services.admin.embedded import EmbeddedPostgres
from services.admin.migrate import migrate_postgres
from services.api.routes.ticks import CHUNK_ROWS
from shared import metrics
from tests.integration.api.conftest import Api, running
from tests.integration.api.rows import COLUMNS, at, tick
from tests.observed import Gain

FILE = "/api/stocks/AAPL/ticks?format=csv"
MANY = 100_000
LEFT = {"route": "/api/stocks/{ticker}/ticks", "status": "499"}


async def fill(api: Api, rows: int) -> None:
    """Let AAPL have so many ticks."""
    await api.store("ticks", [tick(seq, "10.5", ts=at(seq // 3)) for seq in range(1, rows + 1)])


async def test_a_file_has_a_header_line_and_every_tick(api: Api) -> None:
    await api.store("ticks", [tick(1, "255.780", volume="100.0"), tick(2, "9")])
    response = await api.get(FILE)
    assert response.text == (
        "ticker,price,ts,source,volume\r\n"
        "AAPL,9,2026-02-14T14:30:02.000+00:00,simulated,\r\n"
        "AAPL,255.78,2026-02-14T14:30:01.000+00:00,simulated,100\r\n"
    )
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == 'attachment; filename="AAPL-ticks.csv"'


async def test_span_and_limit_hold_for_a_file_too(api: Api) -> None:
    await fill(api, 30)
    assert (await api.get(f"{FILE}&start={at(5).strftime('%Y-%m-%dT%H:%M:%SZ')}&limit=7")).text.count("\n") == 8
    assert (await api.get("/api/stocks/IBM/ticks?format=csv")).text == "ticker,price,ts,source,volume\r\n"


@pytest.mark.parametrize("rows", [CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 1, 2 * CHUNK_ROWS])
async def test_no_row_is_lost_or_doubled_where_chunks_meet(api: Api, rows: int) -> None:
    await api.store("ticks", [tick(seq, str(seq), ts=at(seq // 3)) for seq in range(1, rows + 1)])
    found = list(csv.DictReader(io.StringIO((await api.get(FILE)).text)))
    assert [int(row["price"]) for row in found] == list(range(rows, 0, -1))


@pytest.mark.long
async def test_100_000_rows_take_the_memory_of_a_few_chunks(api: Api) -> None:
    await fill(api, MANY)
    lines = 0
    tracemalloc.start()
    try:
        async with api.client.stream("GET", FILE, headers={"Accept-Encoding": "identity"}) as response:
            async for chunk in response.aiter_raw():
                lines += chunk.count(b"\n")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert lines == MANY + 1
    assert peak < 8 * 1024 * 1024  # the file itself has 6 MiB, its rows in Python ten times that


async def test_a_client_that_does_not_read_holds_no_connection_of_postgresql(api: Api) -> None:
    await fill(api, MANY)
    left = Gain(metrics.API, "tickstream_api_requests_total", **LEFT)
    writers = []
    for _ in range(8):
        _, writer = await asyncio.open_connection("127.0.0.1", api.port, limit=1)
        writer.write(f"GET {FILE} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        writers.append(writer)
    response = await api.get(f"{FILE}&limit=10")
    assert response.text.count("\n") == 11
    for writer in writers:
        writer.transport.abort()
    await left.reaches(8)
    busy = await api.database.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tickstream-api' AND state <> 'idle'"
    )
    assert busy == 0


async def test_a_file_that_cannot_be_finished_has_no_end(redis_url: str, postgres_server: EmbeddedPostgres) -> None:
    await migrate_postgres(postgres_server.url, 4)
    connection = await asyncpg.connect(postgres_server.url)
    rows = [tick(seq, "10.5", ts=at(seq // 3)) for seq in range(1, MANY + 1)]
    await connection.copy_records_to_table("ticks", records=rows, columns=COLUMNS["ticks"])
    await connection.close()
    async with running(redis_url, postgres_server.url) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
        writer.write(f"GET {FILE} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        received = await reader.read(100)
        await asyncio.to_thread(postgres_server.stop)
        while more := await reader.read(65536):
            received = received[-10:] + more
        writer.close()
        await writer.wait_closed()
    assert not received.endswith(b"0\r\n\r\n")
