"""
What a receiver's answer means: yes, no, not yet, or nothing.

A no has to be said (``{"verdict": "no"}``): a bare 403 is what a mesh's own policy or a proxy in between says of a
request that never arrived, and an outage must not roll anything back. For the same reason a page is no yes, whatever
its status.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

from canaryd.model.asking import Reply

NOT_YET = frozenset({202, 409, 423, 425, 429})
"""Statuses by which a receiver says: ask again."""
LONGEST = 200
"""Characters of a receiver's own words that are repeated."""
NO_REDIRECT = "no redirect is followed; set the webhook's url to where it answers"
A_NO = 'a receiver that means no answers {"verdict": "no"}; this may be a proxy, or the mesh\'s own policy'


def reply_of(status: int, headers: Mapping[str, str], body: bytes, now: float) -> Reply:
    """The answer, at ``now`` (Unix seconds); ``headers`` by lower-case name."""
    told = _told(body)
    line = f"{status} {_phrase(status)}".rstrip()
    words = _words(told.get("reason") if told else body)
    why = f"{line}: {words}" if words else line
    after = _after(headers.get("retry-after", ""), now)
    if 300 <= status < 400:
        return Reply("silent", f"{line} ({NO_REDIRECT})")
    if status >= 500 or status < 200:
        return Reply("silent", why, after)
    if told is not None and "verdict" in told:
        return _verdict(told["verdict"], status, words, line, after)
    if status in NOT_YET:
        return Reply("later", why, after)
    if status >= 400:
        return Reply("silent", f"{why} ({A_NO})" if status == 403 else why, after)
    if _is_page(headers, body):
        return Reply("silent", f"{line}: a page and no answer; is there a login in front of it?")
    return Reply("yes", why)


def _verdict(verdict: object, status: int, words: str, line: str, after: float | None) -> Reply:
    if verdict == "no":
        return Reply("no", words or "without a reason", after)
    if verdict == "later":
        return Reply("later", f"not yet: {words}" if words else "not yet", after)
    if verdict == "yes" and status < 300:
        return Reply("yes", words or line)
    return Reply("silent", f"{line}: a verdict of {str(verdict)[:40]!r}, which is none of yes, no and later", after)


def _told(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _words(said: object) -> str:
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said or "")
    if text.lstrip().startswith(("{", "[", "<")):
        return ""
    plain = "".join(one if one.isprintable() else " " for one in text)
    return re.sub(r"\s+", " ", plain).strip()[:LONGEST]


def _is_page(headers: Mapping[str, str], body: bytes) -> bool:
    return "html" in headers.get("content-type", "").lower() or body.lstrip()[:1] == b"<"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _after(text: str, now: float) -> float | None:
    """Seconds that ``Retry-After`` asks to wait, given as seconds or as a date; None where it says nothing."""
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now) if text else None
    except (ValueError, TypeError):
        return None
