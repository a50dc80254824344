"""
Layers: a plan over the policy that it names, over the policy ``default``.

Mappings are merged key by key; a list or a plain value of an upper layer replaces the one below as a whole, so that
nobody's ``steps`` or ``checks`` are a mixture that no person ever wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from canaryd.model.problem import Problem, Refused

DEFAULT = "default"
"""The policy that lies under every plan."""

OWN = ("target", "release", "from")
"""What only a plan can say."""

Content = Mapping[str, Any]
"""A plan's or a policy's whole object, as YAML or JSON has it."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What one of them says under ``spec``; ``name`` is the policy's, empty for the plan."""

    name: str
    spec: Content

    def __str__(self) -> str:
        return f"policy {self.name}" if self.name else "plan"


def layers_of(plan_content: Content, policies: Mapping[str, Content] | None, source: str = "plan") -> tuple[Layer, ...]:
    """
    The plan, its policy and the policy ``default``, the uppermost first; those that are not there are left out.

    ``policies`` are the policies' objects by name; None where nobody said where policies are. Raises Refused where the
    plan names one that there is not.
    """
    spec = plan_content.get("spec")
    own = Layer("", spec if isinstance(spec, Mapping) else {})
    named = own.spec.get("from")
    if isinstance(named, str) and named and (policies is None or named not in policies):
        raise Refused([_no_such(named, policies, source)])
    wanted = dict.fromkeys((*((named,) if isinstance(named, str) and named else ()), DEFAULT))
    below = [Layer(name, _partial(policies[name])) for name in wanted if policies and name in policies]
    return tuple(replace(layer, spec=_spelt(layer.spec)) for layer in (own, *below)) if below else (own,)


def _no_such(named: str, policies: Mapping[str, Content] | None, source: str) -> Problem:
    if policies is None:
        remedy = f"say where the policies are: --policies DIR, a folder with a CanaryPolicy {named} in it"
        return Problem("spec.from", named, f"a policy, and {source} is read without any", remedy)
    return Problem("spec.from", named, "the name of a policy", f"there: {', '.join(sorted(policies)) or 'none'}")


def _partial(policy: Content) -> Content:
    spec = policy.get("spec")
    return {key: value for key, value in spec.items() if key not in OWN} if isinstance(spec, Mapping) else {}


def effective(
    plan_content: Content, policies: Mapping[str, Content] | None = None, source: str = "plan"
) -> dict[str, Any]:
    """
    ``plan_content`` with what it leaves out taken from its policies; the object is not changed.

    Raises Refused where the plan names a policy that there is not.
    """
    return laid(plan_content, layers_of(plan_content, policies, source))


def laid(plan_content: Content, layers: Sequence[Layer]) -> dict[str, Any]:
    """``plan_content`` with the ``spec`` that ``layers`` amount to; as it was where its spec is no mapping."""
    if not isinstance(plan_content.get("spec"), Mapping):
        return dict(plan_content)
    spec: Any = {}
    for layer in reversed(layers):
        spec = _over(layer.spec, spec)
    return {**plan_content, "spec": spec}


def _spelt(part: Any) -> Any:
    """Keys as YAML has them: ``on_drift`` is read as well as ``onDrift``, and the two must meet in one place."""
    if isinstance(part, Mapping):
        return {_camel(key): _spelt(value) for key, value in part.items()}
    return [_spelt(one) for one in part] if isinstance(part, list) else part


def _camel(key: Any) -> Any:
    if not isinstance(key, str) or "_" not in key.strip("_"):
        return key
    first, *others = key.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in others)


def _over(upper: Any, lower: Any) -> Any:
    if not isinstance(upper, Mapping) or not isinstance(lower, Mapping):
        return upper
    return {**lower, **{key: _over(value, lower.get(key)) for key, value in upper.items()}}


def origins(path: Sequence[str], layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """
    Who said what is at ``path`` below ``spec``: the uppermost layer that has it.

    Several where it is a mapping that they fill together. Where nobody has it, who said the nearest that holds it.
    """
    for length in range(len(path), 0, -1):
        found = [(layer, value) for layer in layers if (value := _at(layer.spec, path[:length])) is not _ABSENT]
        if found:
            mappings = all(isinstance(value, Mapping) for _, value in found)
            return tuple(layer for layer, _ in (found if mappings else found[:1]))
    return ()


def said_at(path: Sequence[str], layers: Sequence[Layer]) -> Layer | None:
    """
    The uppermost layer that says something at exactly ``path`` below ``spec``; None where nobody does.

    An item of a list is of the layer whose list is in force.
    """
    for length in range(1, len(path) + 1):
        if path[length - 1].isdigit():
            whole = said_at(path[: length - 1], layers)
            return whole if whole and _at(whole.spec, path) is not _ABSENT else None
    return next((layer for layer in layers if _at(layer.spec, path) is not _ABSENT), None)


_ABSENT = object()


def _at(spec: Any, path: Sequence[str]) -> Any:
    for key in path:
        if isinstance(spec, Mapping) and key in spec:
            spec = spec[key]
        elif isinstance(spec, list) and key.isdigit() and int(key) < len(spec):
            spec = spec[int(key)]
        else:
            return _ABSENT
    return spec


def attributed(problem: Problem, layers: Sequence[Layer]) -> Problem:
    """``problem`` with the policies that it came from in its path; as it is where the plan itself said it."""
    root, *path = problem.path.split(".")
    found = origins(path, layers) if root == "spec" else ()
    if not any(layer.name for layer in found):
        return problem
    return replace(problem, path=f"{problem.path} (from {' and '.join(map(str, found))})")
