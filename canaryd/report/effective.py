"""
What is in force for a plan, each part with where it comes from: the answer of ``canaryd show --effective``.

It is a plan again, with comments: whoever takes it out of the hands of a policy can keep it as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from canaryd.model.layers import Layer, said_at
from canaryd.model.plan import Plan

DEFAULT = "canaryd's default"
EMPTY: tuple[Any, ...] = (None, "", [], {})


def in_force(plan: Plan, layers: Sequence[Layer]) -> dict[str, Any]:
    """The plan's object with every default in it; without ``from``, for it needs no policy any more."""
    content = plan.model_dump(mode="json", by_alias=True, exclude_none=True)
    content["metadata"] = {key: value for key, value in content["metadata"].items() if value not in EMPTY}
    content["spec"].pop("from")
    content["spec"] = _filled(content["spec"], (), layers)
    return content


def _filled(node: Any, path: tuple[str, ...], layers: Sequence[Layer]) -> Any:
    """Without what is empty and nobody's word."""
    if isinstance(node, dict):
        pairs = ((key, _filled(value, (*path, key), layers)) for key, value in node.items())
        return {key: value for key, value in pairs if value not in EMPTY or said_at((*path, key), layers)}
    if isinstance(node, list):
        return [_filled(value, (*path, str(index)), layers) for index, value in enumerate(node)]
    return node


def effective_yaml(plan: Plan, layers: Sequence[Layer]) -> str:
    """The plan in YAML. A comment on a line holds for the whole block under it, but for lines that have their own."""
    content = in_force(plan, layers)
    under = [f"{layer} over" for layer in layers]
    lines = [f"# In force for plan {plan} (digest {plan.digest}): {' '.join(under)} {DEFAULT}s."]
    lines += [f"{key}: {_flow(content[key])}" for key in ("apiVersion", "kind", "metadata")]
    lines += ["spec:"]
    lines += _mapping(content["spec"], (), layers, "", "  ")
    return "\n".join(lines) + "\n"


def _mapping(
    node: dict[str, Any], path: tuple[str, ...], layers: Sequence[Layer], said: str, indent: str
) -> Iterator[str]:
    for key, value in node.items():
        yield from _member(f"{indent}{_flow(key)}:", value, (*path, key), layers, said, f"{indent}  ")


def _member(
    head: str, value: Any, path: tuple[str, ...], layers: Sequence[Layer], said: str, indent: str
) -> Iterator[str]:
    """One key with what is under it; ``said`` is whose word the lines above have announced."""
    origins = set(_origins(value, path, layers))
    own = origins.pop() if len(origins) == 1 else "" if isinstance(value, dict) else _origin(path, layers)
    comment = f"  # {own}" if own and own != said else ""
    whose = own or said
    if isinstance(value, dict) and value:
        yield f"{head}{comment}"
        yield from _mapping(value, path, layers, whose, indent)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield f"{head}{comment}"
        for index, item in enumerate(value):
            lines = list(_mapping(item, (*path, str(index)), layers, whose, f"{indent}  "))
            yield f"{indent}- {lines[0].lstrip()}"
            yield from lines[1:]
    else:
        yield f"{head} {_flow(value)}{comment}"


def _origins(value: Any, path: tuple[str, ...], layers: Sequence[Layer]) -> Iterator[str]:
    """Whose word each leaf is."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _origins(inner, (*path, key), layers)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, inner in enumerate(value):
            yield from _origins(inner, (*path, str(index)), layers)
    else:
        yield _origin(path, layers)


def _origin(path: tuple[str, ...], layers: Sequence[Layer]) -> str:
    layer = said_at(path, layers)
    return str(layer) if layer else DEFAULT


def _flow(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**9, sort_keys=False, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("...").removesuffix("\n")
