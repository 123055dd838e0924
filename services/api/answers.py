"""Whole answers: their headers, and 304 to who has them already."""

from hashlib import blake2b

from fastapi import Request, Response

REVALIDATE = "no-cache"
"""May be kept, but asked about before it is shown again."""


def json_answer(body: bytes) -> Response:
    """JSON as it is."""
    return Response(body, headers={"Cache-Control": REVALIDATE}, media_type="application/json")


def json_or_unchanged(request: Request, body: bytes) -> Response:
    """JSON, or 304 if the client's copy is the same. The tag is weak: compressed or not, it is the same answer."""
    tag = f'W/"{blake2b(body, digest_size=12).hexdigest()}"'
    headers = {"Cache-Control": REVALIDATE, "ETag": tag}
    if _has(request.headers.get("If-None-Match", ""), tag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


def _has(if_none_match: str, tag: str) -> bool:
    """RFC 9110, 13.1.2: any of the listed tags, compared weakly."""
    listed = {part.strip().removeprefix("W/") for part in if_none_match.split(",")}
    return "*" in listed or tag.removeprefix("W/") in listed
