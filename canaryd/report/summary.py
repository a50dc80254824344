"""
What a run came to: one line of the table at the end of the demo, and the head of the report.

*Harmed* are the canary's failed requests: those that people would not have met with had nothing been released. Failures
that no version can be named for are counted apart, because some of them are the service's usual ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from canaryd.judge import wording
from canaryd.model.cells import Counts
from canaryd.model.run import Outcome, Phase, Run
from canaryd.model.traffic import NOTHING, Split
from canaryd.report.outlook import elapsed, standing
from canaryd.report.series import bounds_of, evidence_over_time, measured


@dataclass(frozen=True, slots=True)
class Served:
    """Requests of one side over the whole run, and the failed ones among them."""

    requests: float
    errors: float


@dataclass(frozen=True, slots=True)
class Detection:
    """
    Moments of a rollback, in Unix seconds.

    ``exposed`` is when the canary had its first request, ``suspected`` when evidence of harm first stood at its hold
    bound, ``decided`` when the rollback was, and ``back`` when the mesh was seen without the canary. None: not so far,
    or never.
    """

    exposed: float
    suspected: float | None
    decided: float
    back: float | None

    @property
    def seconds(self) -> float | None:
        """From the canary's first request to the mesh without it."""
        return None if self.back is None else self.back - self.exposed


@dataclass(frozen=True, slots=True)
class Summary:
    """
    A run in figures. ``sentence`` is how it stands in a few words; ``reason`` is the run's own, as it is.

    ``seconds`` is None while the run goes on, ``weights`` are those that the mesh was seen to hold, in order.
    """

    plan: str
    release: str
    run: str
    outcome: Outcome | None
    sentence: str
    seconds: float | None
    weights: tuple[Split, ...]
    stable: Served
    canary: Served
    unattributed: float
    detection: Detection | None
    reason: str

    @property
    def served(self) -> float:
        """Requests of both sides."""
        return self.stable.requests + self.canary.requests

    @property
    def harmed(self) -> float:
        """Failed requests of the canary."""
        return self.canary.errors


def summary(run: Run) -> Summary:
    """What ``run`` has come to so far."""
    cells = measured(run)
    return Summary(
        plan=run.plan.name,
        release=run.plan.spec.release,
        run=run.uid,
        outcome=run.outcome,
        sentence=standing(run),
        seconds=None if run.ended is None else run.ended - run.created,
        weights=weights_reached(run),
        stable=_served(cell.stable for cell in cells),
        canary=_served(cell.canary for cell in cells),
        unattributed=sum(cell.unattributed for cell in cells),
        detection=_detection(run),
        reason=run.reason or (run.latch.reason if run.latch else run.waiting),
    )


def weights_reached(run: Run) -> tuple[Split, ...]:
    """The weights that the mesh was seen to hold, in order, without the nothing before and after."""
    seen = [segment.split for segment in run.segments[:-1]]
    if run.segments and run.arrived_at is not None:
        seen.append(run.segment.split)
    kept: list[Split] = []
    for split in seen:
        if split != NOTHING and kept[-1:] != [split]:
            kept.append(split)
    return tuple(kept)


def _served(counts: Iterable[Counts]) -> Served:
    gathered = tuple(counts)
    return Served(sum(each.requests for each in gathered), sum(each.errors for each in gathered))


def _detection(run: Run) -> Detection | None:
    """When harm was seen and answered; None for a run that nothing was found against, or whose canary met nobody."""
    exposed = next((cell.start for cell in measured(run) if cell.all_canary > 0), None)
    if run.latch is None or exposed is None:
        return None
    hold = bounds_of(run).hold_bound
    suspected = next((point.at for point in evidence_over_time(run) if point.harm >= hold), None)
    back = run.arrived_at if run.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK) else None
    return Detection(exposed, suspected, run.latch.at, back)


def table(summaries: Iterable[Summary]) -> Table:
    """The runs side by side: time, weights, requests served and harmed; below, the reason of each in its own words."""
    figures = Table(expand=False)
    for heading in ("run", "ended", "time", "weights"):
        figures.add_column(heading)
    figures.add_column("requests\nserved", justify="right")
    figures.add_column("requests\nharmed", justify="right")
    reasons = []
    for one in summaries:
        name = f"{one.plan} {one.release}"
        figures.add_row(
            Text(name),
            Text(one.sentence, style=_STYLES[one.outcome]),
            Text(_time(one)),
            Text(_weights(one)),
            wording.number(one.served),
            f"{wording.number(one.harmed)} ({wording.percent(one.harmed, one.served)})",
        )
        reasons.append(Text.assemble((f"{name}, {one.sentence}: ", "bold"), one.reason))
    whole = Table.grid()
    whole.add_row(figures)
    for reason in reasons:
        whole.add_row(reason)
    return whole


_STYLES = {
    None: "",
    Outcome.PROMOTED: "green",
    Outcome.FAILED: "red",
    Outcome.ABORTED: "red",
    Outcome.INCONCLUSIVE: "yellow",
    Outcome.UNDONE: "yellow",
}


def _weights(one: Summary) -> str:
    return ", ".join(str(weight).removesuffix(" %") for weight in one.weights) + " %" if one.weights else "none"


def _time(one: Summary) -> str:
    whole = "so far" if one.seconds is None else elapsed(one.seconds)
    if one.detection is None or one.detection.seconds is None:
        return whole
    return f"{whole}, back after {elapsed(one.detection.seconds)}"
