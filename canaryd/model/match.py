"""
Who goes to the canary first: requests with a header or a cookie, whatever the weights say.

A step's ``match`` is a list of alternatives, as an Istio entry's is; within one all must hold. The runs and the mesh
keep it as one canonical text (:func:`audience_of`), so that equal audiences are equal values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from canaryd.model.part import Part, Text

_TOKEN = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
"""RFC 9110, 5.1; Istio wants the names of headers in lower case."""
_COOKIE = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""RFC 6265, 4.1.1: a cookie's name is a token."""
_VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")
"""RFC 6265, 4.1.1: cookie-octets."""


_BEFORE, _AFTER = r"(.*;\s*)?", r"(\s*;.*)?"
_OURS = re.compile(re.escape(_BEFORE) + "(.+)" + re.escape(_AFTER))
LONGEST = 80
"""Characters of an audience in a sentence."""


class StringMatch(Part):
    """How a header's value is told: exactly one of the three, as Istio has them."""

    exact: Text | None = None
    """The value itself."""
    prefix: Text | None = None
    """How it begins."""
    regex: Text | None = None
    """A regular expression (RE2) for the whole of it."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(value is not None for value in (self.exact, self.prefix, self.regex)) != 1:
            raise ValueError("exactly one of exact, prefix and regex")
        return self

    @property
    def istio(self) -> dict[str, str]:
        return self.model_dump(exclude_none=True)


def _header(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError("the name of a header, in lower case")
    return name


class Cookie(Part):
    """One cookie of the request."""

    name: Annotated[str, Field(strict=True, pattern=f"^{_COOKIE.pattern}$")]
    """Its name."""
    value: Annotated[str, Field(strict=True, pattern=rf"^{_VALUE.pattern}$")]
    """Its value, to the letter."""

    @property
    def istio(self) -> dict[str, str]:
        """The ``cookie`` header with it anywhere in; names and values are separated by ``; `` (RFC 6265, 4.2.1)."""
        return {"regex": f"{_BEFORE}{re.escape(self.name)}={re.escape(self.value)}{_AFTER}"}


class Match(Part):
    """One way to be matched: all of it must hold."""

    headers: Annotated[dict[Annotated[Text, AfterValidator(_header)], StringMatch], Field(max_length=16)] = {}  # noqa: RUF012  # pydantic copies it
    """Headers by name, in lower case."""
    cookie: Cookie | None = None
    """A cookie."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.headers and self.cookie is None:
            raise ValueError("headers, or a cookie")
        if self.cookie is not None and "cookie" in self.headers:
            raise ValueError("cookie: one of a cookie and a header of that name")
        return self

    @property
    def istio(self) -> dict[str, dict[str, str]]:
        """The ``headers`` of an Istio HTTPMatchRequest."""
        found = {name: value.istio for name, value in self.headers.items()}
        return found | ({"cookie": self.cookie.istio} if self.cookie else {})


def audience_of(matches: tuple[Match, ...]) -> str:
    """The canonical text of ``matches``: a JSON list of the ``headers`` of Istio's match requests; empty for none."""
    return json.dumps([one.istio for one in matches], sort_keys=True, separators=(",", ":")) if matches else ""


def headers_of(audience: str) -> list[dict[str, Any]]:
    """What :func:`audience_of` wrote. Raises ValueError for anything else."""
    if not audience:
        return []
    found = json.loads(audience)
    if not isinstance(found, list) or not all(isinstance(one, dict) and one for one in found):
        raise ValueError(f"not an audience: {audience[:80]!r}")
    return found


def spoken(audience: str) -> str:
    """The audience in words, for a sentence: ``matched requests (end-user: jason, or cookie beta=yes)``."""
    ways = [" and ".join(_said(name, value) for name, value in one.items()) for one in headers_of(audience)]
    told = ", or ".join(ways)
    return f"matched requests ({told if len(told) <= LONGEST else told[: LONGEST - 1] + '…'})"


def _said(name: str, value: Mapping[str, str]) -> str:
    [(kind, text)] = value.items()
    if name == "cookie" and kind == "regex" and (ours := _OURS.fullmatch(text)):
        return "cookie " + re.sub(r"\\(.)", r"\1", ours[1])
    return f"{name}: {text}" if kind == "exact" else f"{name}: {text}…" if kind == "prefix" else f"{name} ~ {text}"
