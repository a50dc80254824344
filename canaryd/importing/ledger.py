"""
What becomes of each field of another tool's object.

A field is carried into the plan, left out, or idle: it means nothing to a plan, and why. A field of which nobody spoke
is *unknown*, and said like one that was left out. So none is ever dropped in silence, not even one that the other tool
will only have tomorrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from canaryd.model.reading import shown

Path = tuple[str | int, ...]
"""Keys of mappings and places in lists, from the object's root."""

UNKNOWN = "canaryd does not know this field, and nothing of it is in the plan"
ABSENT = object()
_PRIVATE = ("headers", "authentication", "metadata")
"""Where the other tools keep tokens: what stands there is never repeated."""
_SERVERS = (
    "uid",
    "resourceVersion",
    "generation",
    "generateName",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
)


@dataclass(frozen=True, slots=True)
class Fate:
    """
    What became of a field, and of everything below it.

    ``source`` is the object (``Canary test/podinfo``), ``path`` the field (``spec.analysis.threshold``), ``value`` what
    stood there, shortened. ``said`` is where it was carried to, or why it was not; ``instead`` what a person does.
    """

    source: str
    path: str
    value: str
    kind: Literal["carried", "left out", "idle", "unknown"]
    said: str
    instead: str = ""

    @property
    def lost(self) -> bool:
        """Whether the plan does not say what the field said."""
        return self.kind in ("left out", "unknown")

    def __str__(self) -> str:
        advice = f"; {self.instead}" if self.instead else ""
        return f"{self.source} {self.path}: {self.value}: {self.said}{advice}"


class Ledger:
    """One object, and what was said of its fields so far."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        meta = content.get("metadata")
        meta = meta if isinstance(meta, Mapping) else {}
        self.content = content
        self.name = str(meta.get("name") or "")
        self.namespace = str(meta.get("namespace") or "")
        self.source = f"{content.get('kind')} {'/'.join(filter(None, (self.namespace, self.name)))}"
        self._said: dict[Path, Fate] = {}

    def at(self, *path: str | int, default: Any = None) -> Any:
        """What stands at ``path``; ``default`` where nothing does, or null."""
        found = _at(self.content, path)
        return default if found is ABSENT or found is None else found

    def mapping(self, *path: str | int) -> Mapping[str, Any]:
        """The mapping at ``path``, empty where there is none."""
        found = self.at(*path)
        return found if isinstance(found, Mapping) else {}

    def items(self, *path: str | int) -> list[Any]:
        """The list at ``path``, empty where there is none."""
        found = self.at(*path)
        return found if isinstance(found, list) else []

    def carried(self, path: Path, to: str) -> None:
        """The plan says it, at ``to``."""
        self._note(path, "carried", to)

    def idle(self, path: Path, why: str) -> None:
        """It means nothing to a plan, because of ``why``."""
        self._note(path, "idle", why)

    def only_there(self) -> None:
        """What any object has and no plan asks: its kind, and what the API server and its owners wrote."""
        for key in ("apiVersion", "kind"):
            self.idle((key,), "says what the object is")
        for key in _SERVERS:
            self.idle(("metadata", key), "the API server's own")
        for key in ("finalizers", "ownerReferences"):
            self.idle(("metadata", key), "how the object is taken away, of which docs/import.md speaks")
        self.idle(("status",), "where the other tool stands; a plan begins anew")

    def left(self, path: Path, why: str, instead: str = "", *, default: Any = ABSENT) -> None:
        """The plan does not say it. Where it is the ``default``, nothing is lost by that."""
        if default is not ABSENT and self.at(*path, default=default) == default:
            self._note(path, "idle", "what it would be if it were not there")
        else:
            self._note(path, "left out", why, instead)

    def _note(
        self, path: Path, kind: Literal["carried", "left out", "idle", "unknown"], said: str, instead: str = ""
    ) -> None:
        found = _at(self.content, path)
        if found is not ABSENT and path not in self._said:
            value = shown(_discreet({path[-1]: found})[path[-1]])
            self._said[path] = Fate(self.source, dotted(path), value, kind, said, instead)

    def fates(self) -> list[Fate]:
        """Everything that was said, and the leaves of which nobody spoke as unknown, in the order of the object."""
        found: dict[Path, Fate] = {}
        for leaf, value in _leaves(self.content, ()):
            for length in range(len(leaf), -1, -1):
                if fate := self._said.get(leaf[:length]):
                    found[leaf[:length]] = fate
                    break
            else:
                found[leaf] = Fate(self.source, dotted(leaf), shown(_discreet(value)), "unknown", UNKNOWN)
        return list(found.values())


def _discreet(value: Any) -> Any:
    """``value`` without what may be a secret."""
    if isinstance(value, Mapping):
        return {key: "(not repeated)" if key in _PRIVATE else _discreet(one) for key, one in value.items()}
    return [_discreet(one) for one in value] if isinstance(value, list) else value


def dotted(path: Path) -> str:
    """``spec.steps.0.weight``."""
    return ".".join(map(str, path))


def _at(content: Any, path: Sequence[str | int]) -> Any:
    for key in path:
        there = key in content if isinstance(content, Mapping) else isinstance(content, list) and _within(content, key)
        if not there:
            return ABSENT
        content = content[key]
    return content


def _within(content: list[Any], place: str | int) -> bool:
    return isinstance(place, int) and place < len(content)


def _leaves(content: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(content, Mapping) and content:
        for key, value in content.items():
            yield from _leaves(value, (*path, str(key)))
    elif isinstance(content, list) and content:
        for place, value in enumerate(content):
            yield from _leaves(value, (*path, place))
    else:
        yield path, content
