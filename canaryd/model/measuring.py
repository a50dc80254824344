"""
What a run measures: whose requests are counted, and what is asked beside them.

It follows from the run alone, so that a report can say later which queries its figures came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from canaryd.model.cells import Sought
from canaryd.model.hosts import fully_qualified
from canaryd.model.queries import Names, questions
from canaryd.model.run import Pin, Run
from canaryd.model.traffic import Route, Version


@dataclass(frozen=True, slots=True)
class Query:
    """
    A query as a run asks it: its ``name``, the names of the ``checks`` that live by it, and the PromQL ``text``.

    ``about`` says in words what it answers. It is evaluated at the end of each cell.
    """

    name: str
    about: str
    text: str
    checks: tuple[str, ...] = ()


def hosts_of(route: Route) -> tuple[str, ...]:
    """The fully qualified names of the services behind both versions, whichever of the objects names them."""
    return tuple(
        dict.fromkeys(
            fully_qualified(version.host, part.namespace)
            for part in route.parts
            for version in (part.stable, part.canary)
        )
    )


def sought_of(run: Run, hosts: Sequence[str]) -> Sought | None:
    """Whose requests are counted in ``run``; None before both sides are pinned. ``hosts`` are fully qualified."""
    if run.canary_pin is None or run.stable_pin is None:
        return None
    analysis = run.plan.spec.analysis
    sought = analysis.sought(
        hosts=tuple(hosts),
        namespace=run.canary_pin.namespace,
        stable=run.stable_pin.workloads,
        canary=run.canary_pin.workloads,
        asker=run.plan.namespace,
        called=run.plan.called,
    )
    asked = questions(
        analysis,
        _names(run.stable_pin, run.route.stable, hosts[0]),
        _names(run.canary_pin, run.route.canary, hosts[-1]),
    )
    return replace(sought, questions=asked)


def _names(pin: Pin, version: Version, host: str) -> Names:
    """What queries may call a side; ``host`` is fully qualified."""
    return Names(pin.workloads, pin.namespace, version.subset, host, pin.hashes)
