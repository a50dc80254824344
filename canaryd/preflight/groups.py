"""The checks, subject by subject, in the order in which they are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog

from canaryd.model import codes
from canaryd.model.finding import Code, Finding
from canaryd.preflight import (
    apis,
    capacity,
    conflicts,
    evidence,
    feasibility,
    gateways,
    istiod,
    neighbours,
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
    for group in GROUPS:
        if group.check is None:
            continue
        try:
            yield from group.check(survey)
        except Exception as error:
            log.exception("preflight.check_broken", group=group.title)
            yield sight.CHECK_BROKEN.at(group.title, f"this check could not be carried out: {error!r}")
