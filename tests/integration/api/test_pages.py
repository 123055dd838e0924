"""Dashboard, documentation and their files: nothing from other hosts, nothing beyond the folder."""

import asyncio
import re

import httpx

from services.api.routes.pages import FOLDER
from shared.version import version
from tests.integration.api.conftest import PERIOD, Api, Start

STRICT = {"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "font-src": "'self'"}
CLOSED = {"frame-ancestors": "'none'", "base-uri": "'none'", "form-action": "'none'"}
PAGES = {
    "/": ("/ops", "/docs", "/docs/events"),
    "/ops": ("/", "/docs", "/docs/events"),
    "/docs": ("/", "/ops", "/docs/events"),
    "/docs/events": ("/", "/ops", "/docs"),
}
ESCAPES = [
    "../settings.py",
    "..%2fsettings.py",
    "%2e%2e/settings.py",
    "....//settings.py",
    "%2fetc%2fpasswd",
    "vendor/..%2f..%2fsettings.py",
]


def policy(response: httpx.Response) -> dict[str, str]:
    """The directives of the answer's policy."""
    parts = (part.strip().partition(" ") for part in response.headers["content-security-policy"].split(";"))
    return {name: value for name, _, value in parts}


async def test_the_dashboard_may_talk_to_its_own_host_and_the_gateway_alone(api: Api) -> None:
    response = await api.get("/")
    assert response.headers["content-type"].startswith("text/html")
    assert policy(response) == {**STRICT, **CLOSED, "img-src": "'self'", "connect-src": "'self' ws://127.0.0.1:8001"}


async def test_pages_of_anybody_may_load_the_client_and_nothing_else(api: Api) -> None:
    for path, allowed in (("feed.js", "*"), ("dashboard/main.js", None), ("docs/rest.html", None)):
        response = await api.get(f"/static/{path}", headers={"Origin": "https://app.example.org"})
        assert (response.status_code, response.headers.get("access-control-allow-origin")) == (200, allowed)


async def test_the_client_depends_on_nothing(api: Api) -> None:
    assert not re.search(r"^import |\bimport\(", (await api.get("/static/feed.js")).text, re.MULTILINE)


async def test_a_host_that_is_none_gets_into_no_policy(api: Api) -> None:
    for host in ("evil.example; script-src *", "a'b", "[::1"):
        response = await api.get("/", headers={"Host": host})
        assert policy(response) == {**STRICT, **CLOSED, "img-src": "'self'", "connect-src": "'self'"}


async def test_the_dashboard_is_told_where_the_gateway_is(start_api: Start) -> None:
    api = await start_api(gateway_port=9001)
    config = (await api.get("/config.json", headers={"Host": "stocks.example:8000"})).json()
    assert config == {"gateway": "ws://stocks.example:9001/ws/stocks/", "sma_period": PERIOD, "version": version()}
    secure = await api.get("/", headers={"Host": "stocks.example", "X-Forwarded-Proto": "https"})
    assert policy(secure)["connect-src"] == "'self' wss://stocks.example:9001"


async def test_a_gateway_of_another_host_is_the_one_that_is_told_and_allowed(start_api: Start) -> None:
    api = await start_api(gateway_public_url="https://live.example/prices/")
    assert (await api.get("/config.json")).json()["gateway"] == "wss://live.example/prices/"
    assert policy(await api.get("/"))["connect-src"] == "'self' wss://live.example"


async def test_the_documentation_asks_no_other_host(api: Api) -> None:
    page = await api.get("/docs")
    assert policy(page) == {**STRICT, **CLOSED, "img-src": "'self' data:", "connect-src": "'self'"}
    assert "//" not in page.text.replace("<!doctype html>", "")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {path for path in loaded if not path.startswith("/")} == set()
    assert "onclick" not in page.text
    assert "<style" not in page.text
    assert (await api.get("/static/docs/rest.js")).text.count("http") == 0


async def test_every_file_of_the_pages_is_served_with_its_type_and_a_tag(api: Api) -> None:
    types = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".html": "text/html"}
    files = [path for path in FOLDER.rglob("*") if path.suffix in types]
    assert files
    for path in files:
        response = await api.get(f"/static/{path.relative_to(FOLDER)}")
        assert response.content == path.read_bytes()
        assert response.headers["content-type"].partition(";")[0] == types[path.suffix]
        tag = response.headers["etag"]
        assert (await api.get(f"/static/{path.relative_to(FOLDER)}", headers={"If-None-Match": tag})).status_code == 304


async def test_nothing_but_files_of_the_folder_is_served(api: Api) -> None:
    for path in (*ESCAPES, "vendor", "vendor/", ".", "%00", "a" * 300, "vendor/.installed/x"):
        status, head = await ask_raw(api.port, f"/static/{path}")
        assert (path, status) == (path, 404)
        assert b"content-type: application/problem+json" in head


async def ask_raw(port: int, target: str) -> tuple[int, bytes]:
    """Status and head of a request whose target no client straightened."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split()[1]), head


async def test_the_openapi_document_names_what_there_is(api: Api) -> None:
    document = await api.json("/openapi.json")
    assert set(document["paths"]) == {
        "/api/stocks", "/api/stocks/{ticker}", "/api/stocks/{ticker}/ticks", "/api/stocks/{ticker}/bars", "/api/stocks/{ticker}/gaps",
        "/api/days", "/api/alerts", "/api/market", "/api/pipeline", "/healthz",
    }  # fmt: skip
    for path in document["paths"].values():
        assert set(path) == {"get"}
        for status, answer in path["get"]["responses"].items():
            assert set(answer["content"]) <= {"application/json", "text/csv"} if status == "200" else {"application/problem+json"}


async def test_the_description_of_streams_and_websocket_is_served_with_every_schema_it_names(api: Api) -> None:
    page = await api.get("/docs/events")
    assert policy(page) == {**STRICT, **CLOSED, "img-src": "'self'", "connect-src": "'self'"}
    assert "//" not in page.text.replace("<!doctype html>", "")
    document = await api.json("/asyncapi.json")
    for name, message in document["components"]["messages"].items():
        schema = await api.get(message["x-schema"])
        assert schema.headers["content-type"] == "application/json"
        assert schema.json()["$id"].endswith(f":{name}")
    for path in ("/schemas/", "/schemas/v1", "/schemas/../docs/rest.html", "/schemas/v1/entries/nothing.schema.json"):
        assert (await api.get(path)).status_code == 404


async def test_pages_lead_to_each_other(api: Api) -> None:
    for path, others in PAGES.items():
        text = (await api.get(path)).text
        assert [other for other in others if f'href="{other}"' not in text] == []
