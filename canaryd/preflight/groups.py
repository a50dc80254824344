"""The checks, subject by subject, in the order in which they are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

import structlog

from canaryd.model import codes
from canaryd.model.finding import Code, Finding
from canaryd.model.plan import Plan
from canaryd.preflight import (
    apis,
    capacity,
    conflicts,
    evidence,
    feasibility,
    gateways,
    istiod,
    neighbours,
    own_queries,
    ports,
    prometheus,
    reach,
    sidecars,
    sight,
    subsets,
    tls,
    writers,
)
from canaryd.preflight.survey import Survey

Check = Callable[[Survey], Iterator[Finding]]

log = structlog.get_logger()


FOUND_HERE_TOO = (codes.SUBSET_MISSING_FOR_CLIENTS, codes.LABEL_MISSING)
"""Codes of admission's that checks here find, too, where admission would let it be."""


@dataclass(frozen=True, slots=True)
class Group:
    """A subject: its title in the docs, its codes, and its check; admission's codes have none of their own here."""

    title: str
    codes: tuple[Code, ...]
    check: Check | None = None


SUBJECTS = (
    apis,
    sidecars,
    ports,
    subsets,
    capacity,
    evidence,
    conflicts,
    gateways,
    reach,
    writers,
    tls,
    prometheus,
    own_queries,
    istiod,
    neighbours,
    feasibility,
    sight,
)
GROUPS = (
    Group(codes.TITLE, codes.CODES),
    *(Group(each.TITLE, each.CODES, each.check) for each in SUBJECTS),
)


def checked(survey: Survey) -> Iterator[Finding]:
    """What every check finds. One that breaks is a finding itself and hides no other."""
    yield from accepted_in_vain(survey.plan)
    for group in GROUPS:
        if group.check is None:
            continue
        try:
            yield from group.check(survey)
        except Exception as error:
            log.exception("preflight.check_broken", group=group.title)
            yield sight.CHECK_BROKEN.at(group.title, f"this check could not be carried out: {error!r}")


def accepted_in_vain(plan: Plan) -> Iterator[Finding]:
    """The codes that the plan accepts and that cannot be accepted, or are none."""
    ours = [code.name for group in GROUPS if group.check is not None for code in group.codes]
    ours += [code.name for code in FOUND_HERE_TOO]
    admissions = {code.name for code in codes.CODES} - set(ours)
    for place, accepted in enumerate(plan.spec.accept_findings):
        if accepted.code in ours:
            continue
        where = f"spec.acceptFindings.{place}.code"
        if accepted.code in admissions:
            yield sight.ACCEPTED_IN_VAIN.at(where, f"{accepted.code} is admission's own and cannot be accepted")
        else:
            close = get_close_matches(accepted.code, ours, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            yield sight.ACCEPTED_IN_VAIN.at(where, f"{accepted.code} is no code of preflight's{hint}")
