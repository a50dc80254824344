"""
Rules that no request reaches, as far as one can tell from the matches alone: warnings, never errors.

Two analyses. Exact: a match that an earlier rule has word for word, and anything behind a rule without matches.
Overlap, for HTTP only: a prefix that an earlier, shorter prefix covers while method, authority, headers and so on do
not tell the two apart. Source: Istio, pkg/config/validation/validation.go (analyzeUnreachable...Rules,
genMatchHTTPRoutes, coveredValidation); its quirks are kept.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from canaryd.lab.kubernetes.status import Object
from canaryd.lab.kubernetes.webhook.problems import Problem, Problems, quoted, warning

_MESSAGES = ("uri", "scheme", "method", "authority")


def unreachable(spec: Object) -> Problems:
    http, tcp, tls = ([one or {} for one in spec.get(kind) or []] for kind in ("http", "tcp", "tls"))
    yield from _repeated(http)
    yield from _overlapping(http)
    yield from _repeated(tcp)
    yield from _repeated(tls)


def _repeated(routes: list[Object]) -> Problems:
    first_rule: dict[str, str] = {}
    catch_all = False
    for index, route in enumerate(routes):
        rule, matches = _name(route, index), route.get("match") or []
        if not matches:
            if catch_all:
                yield _unused(rule, "only the last rule can have no matches")
            catch_all = True
            continue
        repeats = 0
        for position, match in enumerate(matches):
            known = _known_as(match)
            if catch_all:
                yield _unused(rule, "route without matches defined before")
            elif known in first_rule:
                yield _ineffective(rule, _name(match, position), first_rule[known])
                repeats += 1
            else:
                first_rule[known] = rule
        if repeats == len(matches):
            yield _unused(rule, "all matches used by prior rules")


def _unused(rule: str, reason: str) -> Problem:
    return warning(f"virtualService rule {rule} not used ({reason})")


def _ineffective(rule: str, match: str, other: str) -> Problem:
    return warning(
        f"virtualService rule {rule} match {match} is not used (duplicate/overlapping match in rule {other})"
    )


def _name(found: Object | None, index: int) -> str:
    name = (found or {}).get("name")
    return quoted(name) if name else f"#{index}"


def _known_as(match: Object | None) -> str:
    """A match without its name and without what is empty: equal for matches that mean the same."""
    kept = {key: value for key, value in (match or {}).items() if key != "name" and (value or _is_set(key, value))}
    return json.dumps(kept, sort_keys=True)


def _is_set(key: str, value: Any) -> bool:
    return key in _MESSAGES and value is not None


@dataclass(frozen=True, slots=True)
class _Prefix:
    """A match of a URI by prefix; conditions are Istio's strings: ``exact:GET``, ``prefix:/api``, or empty."""

    rule: str
    match: str
    prefix: str
    port: int
    method: str
    authority: str
    conditions: tuple[dict[str, str], dict[str, str], dict[str, str]]

    @property
    def shown(self) -> str:
        return f"{self.match} of prefix {self.prefix}"

    def covers(self, other: _Prefix) -> bool:
        """Whether what `other` matches was matched by this one; a condition may begin with the other's."""
        return (
            other.prefix.startswith(self.prefix)
            and other.port == self.port
            and self.method.startswith(other.method)
            and self.authority.startswith(other.authority)
            and all(_covered(mine, theirs) for mine, theirs in zip(self.conditions, other.conditions, strict=True))
        )


def _covered(mine: dict[str, str], theirs: dict[str, str]) -> bool:
    return mine.keys() == theirs.keys() and all(mine[key].startswith(theirs[key]) for key in mine)


def _overlapping(routes: list[Object]) -> Problems:
    prefixes = _prefixes(routes)
    for index, earlier in enumerate(prefixes):
        for later in prefixes[index + 1 :]:
            if later.prefix != earlier.prefix and earlier.covers(later):
                yield _ineffective(later.rule, later.shown, f"{earlier.shown} on {earlier.rule}")


def _prefixes(routes: list[Object]) -> list[_Prefix]:
    """The prefixes that the exact analysis saw: none behind a rule without matches, none a second time."""
    found, seen = [], set()
    for index, route in enumerate(routes):
        if not route.get("match"):
            break
        for position, match in enumerate(route["match"]):
            known = _known_as(match)
            prefix = ((match or {}).get("uri") or {}).get("prefix")
            if prefix and known not in seen:
                found.append(_prefix(_name(route, index), _name(match, position), prefix, match))
            seen.add(known)
    return found


def _prefix(rule: str, name: str, prefix: str, match: Object) -> _Prefix:
    headers, parameters, without = (
        {key: _condition(value) for key, value in (match.get(field) or {}).items()}
        for field in ("headers", "queryParams", "withoutHeaders")
    )
    return _Prefix(
        rule=rule,
        match=name,
        prefix=prefix,
        port=int(match.get("port") or 0),
        method=_condition(match.get("method")) or "exact:GET",
        authority=_condition(match.get("authority")),
        conditions=(headers, parameters, without),
    )


def _condition(value: Any) -> str:
    value = value or {}
    for kind in ("exact", "prefix"):
        if value.get(kind):
            return f"{kind}:{value[kind]}"
    return ""
