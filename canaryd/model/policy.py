"""
Policies: what many plans have in common.

A policy is a plan's ``spec`` in part: without ``target``, ``release`` and ``from``, which only a plan can say. The one
named ``default`` lies under every plan; ``spec.from`` picks another, which itself lies over ``default``. What a policy
cannot know by itself (whether its cells are long enough for another layer's scrapes, whether steps that it does not
have end high enough) is judged where a plan is laid over it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, ValidationError, create_model, model_validator

from canaryd.model.layers import DEFAULT as DEFAULT
from canaryd.model.layers import OWN, Content
from canaryd.model.layers import effective as effective
from canaryd.model.part import Name, Part
from canaryd.model.plan import Analysis, Spec, Step, end_where_promotion_is_proven
from canaryd.model.plan import plan_of as plan_of
from canaryd.model.problem import Problem, Refused
from canaryd.model.queries import problems_of_queries
from canaryd.model.reading import content_of, problems_of, shown


class PolicyMetadata(Part):
    """Who the policy is."""

    name: Name
    """The policy's name, a DNS label; plans say it in ``spec.from``. ``default`` holds for every plan."""
    labels: dict[str, str] = {}  # noqa: RUF012  # pydantic copies it for each policy
    """Free labels; canaryd reads none."""
    annotations: dict[str, str] = {}  # noqa: RUF012  # pydantic copies it for each policy
    """Free annotations; canaryd reads none."""


class PartialAnalysis(Analysis):
    """How runs are measured and judged, in part."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """Another layer may bring the cell that this one's scrape interval needs."""
        return self.checked() if {"cell", "scrape"} <= self.model_fields_set else self


class _Rules(Part):
    @model_validator(mode="after")
    def _promotion_is_proven(self) -> Self:
        steps: tuple[Step, ...] = getattr(self, "steps", ())
        if steps and not getattr(self, "accept_unproven", ""):
            end_where_promotion_is_proven(steps)
        return self


def _partial_fields() -> dict[str, Any]:
    """Spec's fields as they are, but none of them needed."""
    fields: dict[str, Any] = {}
    for name, known in Spec.model_fields.items():
        if (known.alias or name) in OWN:
            continue
        field = copy(known)
        if field.is_required():
            field.default = ()
        fields[name] = (field.annotation, field)
    fields["analysis"] = (
        PartialAnalysis,
        Field(PartialAnalysis(), description=Spec.model_fields["analysis"].description),
    )
    return fields


if TYPE_CHECKING:
    PolicySpec = _Rules
else:
    PolicySpec = create_model(
        "PolicySpec",
        __base__=_Rules,
        __module__=__name__,
        __doc__="What plans take from the policy: any part of a plan's spec but target, release and from.",
        **_partial_fields(),
    )


class Policy(Part):
    """What many plans have in common, as in ``config/policies/``."""

    api_version: Literal["canaryd.io/v1alpha1"] = "canaryd.io/v1alpha1"
    """The version of this page."""
    kind: Literal["CanaryPolicy"] = "CanaryPolicy"
    """A policy."""
    metadata: PolicyMetadata
    """Its name; a policy has no namespace."""
    spec: PolicySpec
    """What it says."""

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def content(self) -> dict[str, Any]:
        """The policy's object with nothing in it but what it says: no default of canaryd's."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


def read_policy(text: str, source: str = "policy") -> Policy:
    """The policy in a YAML text. Raises Refused with every problem."""
    content = content_of(text, source, "policy")
    if not isinstance(content, Mapping):
        raise Refused([Problem(source, shown(content), "a mapping with apiVersion, kind, metadata and spec")])
    return policy_of(content, source)


def policy_of(content: Content, source: str = "policy") -> Policy:
    """The policy that ``content`` says. Raises Refused with every problem that it has by itself."""
    faults = list(problems_of_queries(content))
    try:
        policy = Policy.model_validate(content)
    except ValidationError as error:
        problems = [*(_known_elsewhere(one) for one in problems_of(error, Policy)), *faults]
        raise Refused(replace(one, path=f"{source}: {one.path}") for one in problems) from error
    if faults:
        raise Refused(replace(one, path=f"{source}: {one.path}") for one in faults)
    return policy


def _known_elsewhere(problem: Problem) -> Problem:
    """A key of plans in a policy is no slip of the keyboard."""
    key = problem.path.removeprefix("spec.")
    if key not in OWN:
        return problem
    return Problem(problem.path, "", f"a policy without {key}", "only a plan can say it; take it out")


def policies_of(texts: Iterable[tuple[str, str]]) -> dict[str, Content]:
    """
    The policies in ``texts`` (pairs of source and YAML) by name, as :func:`effective` wants them.

    Raises Refused with every problem of every text, and where two have one name.
    """
    found: dict[str, Content] = {}
    sources: dict[str, str] = {}
    problems: list[Problem] = []
    for source, text in texts:
        try:
            policy = read_policy(text, source)
        except Refused as refused:
            problems += refused.problems
            continue
        if policy.name in found:
            remedy = f"rename it, or take one of the two out; the other is in {sources[policy.name]}"
            problems.append(Problem(f"{source}: metadata.name", policy.name, "a name that no other policy has", remedy))
        found[policy.name], sources[policy.name] = policy.content, source
    if problems:
        raise Refused(problems)
    return found
