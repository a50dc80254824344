"""
What two Deployments run, compared: the pod templates, without what only tells them apart.

Compared are the pods' spec (containers by name with image, command, env, resources and so on; volumes; the account) and
the template's annotations ``checksum/...``, by which Helm charts say that a ConfigMap has changed. Not compared are
labels and other annotations, which name the version or were left by a tool, and where pods are scheduled. An image that
both sides name by digest is its digest; else it is the text, so that a tag which moves is the same image to us.

Values are never told, for env may hold secrets; of an image the name is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from canaryd.mesh.entries import Object
from canaryd.model.traffic import Difference

SCHEDULING = frozenset(
    {
        "affinity",
        "nodeName",
        "nodeSelector",
        "preemptionPolicy",
        "priority",
        "priorityClassName",
        "schedulerName",
        "schedulingGates",
        "tolerations",
        "topologySpreadConstraints",
    }
)
"""Fields of a pod's spec that say where it runs, and not what."""
CHECKSUM = "checksum/"
SHORT = 16
"""Characters of a digest that stand for a value."""


def essence(deployment: Object) -> dict[str, str]:
    """
    What the Deployment's pods run: dotted paths, such as ``containers.reviews.image``, and a text for each.

    An image stands as it is, anything else as a digest of its value. Of a Deployment that was made slim it is what was
    kept.
    """
    template = (deployment.get("spec") or {}).get("template") or {}
    if isinstance(kept := template.get("essence"), dict):
        return kept
    spec = {key: value for key, value in (template.get("spec") or {}).items() if key not in SCHEDULING}
    marks = (template.get("metadata") or {}).get("annotations") or {}
    checksums = {key: value for key, value in marks.items() if key.startswith(CHECKSUM)}
    return dict(_flat(spec, "")) | dict(_flat({"annotations": checksums} if checksums else {}, ""))


def _flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if value is None:
        return
    if isinstance(value, Mapping) and value:
        for key, one in value.items():
            yield from _flat(one, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for key, one in _keyed(value):
            yield from _flat(one, f"{path}.{key}")
    elif path.endswith(".image"):
        yield path, str(value)
    else:
        yield path, hashlib.sha256(repr(value).encode()).hexdigest()[:SHORT]


def _keyed(values: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """By name where all have names of their own, so that their order says nothing; else by place."""
    names = [one.get("name") if isinstance(one, Mapping) else None for one in values]
    if None not in names and len(set(names)) == len(names):
        for name, one in zip(names, values, strict=True):
            rest = {key: value for key, value in one.items() if key != "name"}
            yield str(name), rest or ""  # a name alone is something, too
    else:
        yield from ((str(place), one) for place, one in enumerate(values))


def unlike(stable: Iterable[Object], canary: Iterable[Object]) -> tuple[Difference, ...]:
    """
    In what the Deployments behind stable differ from those behind the canary, in order of their paths.

    Of several each has to be like one of the other side's, and is held against the one it is most like.
    """
    here, there = [essence(one) for one in stable], [essence(one) for one in canary]
    if not here or not there:
        return (Difference("", f"there is no Deployment behind {'the canary' if here else 'stable'} to compare"),)
    found = {difference for one in here for difference in _nearest(one, there)}
    found |= {difference for one in there for difference in _nearest(one, here, turned=True)}
    return tuple(sorted(found, key=lambda difference: (not difference.path.endswith(".image"), difference.path)))


def _nearest(one: Mapping[str, str], others: Sequence[Mapping[str, str]], *, turned: bool = False) -> list[Difference]:
    pairs = ((other, one) if turned else (one, other) for other in others)
    return min((list(_differences(*pair)) for pair in pairs), key=len)


def _differences(stable: Mapping[str, str], canary: Mapping[str, str]) -> Iterator[Difference]:
    for path in stable.keys() | canary.keys():
        have, want = stable.get(path), canary.get(path)
        if have == want:
            continue
        if not path.endswith(".image"):
            words = f"{path} is not there" if have is None else f"{path} is only there" if want is None else ""
            yield Difference(path, words or f"{path} differs")
        elif have is None or want is None or _digest(have) != _digest(want) or not _digest(have):
            yield Difference(path, f"{path} is {have or 'not there'}, not {want or 'left out'}")


def _digest(image: str) -> str:
    """The digest of an image that is named by one, else nothing."""
    return image.partition("@")[2]
