"""
A plan tried on one's own service: healthy, and broken in the ways in which releases break.

Each story is a scenario with the stable version as the figures say and a canary that differs in one thing. What comes
out is what production would have seen, at the plan's own pace: after how long, at which weight, and how many requests
were harmed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from canaryd.errors import Rejected
from canaryd.lab.own.figures import Figures
from canaryd.lab.own.pace import MOST_RPS, pace, quickened
from canaryd.lab.scenarios.format import Scenario, Script
from canaryd.lab.scenarios.player import Played
from canaryd.lab.scene import Scene, name_of
from canaryd.model.duration import render_seconds
from canaryd.model.plan import Plan
from canaryd.model.traffic import Version

Json = dict[str, Any]
MORE_ERRORS = 0.02
SLOWER = 1.5
BUCKETS = (
    "; or both versions lie in the same buckets of Istio's histogram (25, 50, 100, 250 ms, ...): finer ones tell more "
    "(annotation sidecar.istio.io/statsHistogramBuckets on the pods)"
)
PATIENCE = 120.0
"""Seconds of the lab beyond what the plan takes at least."""


@dataclass(frozen=True, slots=True)
class Story:
    """How the canary differs: its own `figures`, or an event (`late`, `drained`) at the plan's last or first step."""

    name: str
    about: str
    ending: str = "rolled back"
    times_slower: float = 1.0
    tail_times: float = 1.0
    more_errors: float = 0.0
    event: str = ""

    def canary(self, figures: Figures) -> Figures:
        return replace(
            figures,
            errors=min(1.0, figures.errors + self.more_errors),
            p50=figures.p50 * self.times_slower,
            p99=max(figures.p99 * self.times_slower * self.tail_times, figures.p50 * self.times_slower),
        )


STORIES = {
    story.name: story
    for story in (
        Story("healthy", "the canary is as stable is", ending="promoted"),
        Story(
            "errors", f"{100 * MORE_ERRORS:g} % of its requests fail that would not at stable", more_errors=MORE_ERRORS
        ),
        Story("slow", f"everything takes {SLOWER:g} times as long", times_slower=SLOWER),
        Story("tail", "its slowest 1 % take twice as long", tail_times=2.0),
        Story("late", f"at the last step {100 * MORE_ERRORS:g} % of its requests begin to fail", event="late"),
        Story("drained", "all its pods stop being ready at the first step", event="drained"),
    )
}


@dataclass(frozen=True, slots=True)
class Trial:
    """What is tried: the plan at the lab's pace, of which a second stands for `times`, and the `rps` that are sent."""

    plan: Plan
    times: float
    rps: float
    scripts: tuple[Script, ...]
    notes: tuple[str, ...] = field(default=())


def trial(scene: Scene, plan: Plan, figures: Figures, names: tuple[str, ...], times: float | None = None) -> Trial:
    """The stories called `names` for a plan and a service. Raises Rejected for a story that is not known."""
    unknown = [name for name in names if name not in STORIES]
    if unknown:
        raise Rejected(f"{unknown[0]}: no such story; there are {', '.join(STORIES)}")
    times = pace(plan, figures.rps) if times is None else times
    quick, notes = quickened(plan, times)
    sent = min(MOST_RPS, figures.rps * times)
    if sent < figures.rps * times:
        less = f"the lab sends {sent:,.0f} requests a second where yours would be {figures.rps * times:,.0f}"
        notes = (*notes, f"{less}: evidence gathers more slowly than in production")
    target = plan.spec.target
    canary = _called(target.version(target.canary))
    stable = _called(target.version(target.stable)) if target.stable else _other(scene, canary)
    text = yaml.safe_dump(quick.model_dump(mode="json", by_alias=True, exclude_none=True), sort_keys=False)
    scripts = [Script(_scenario(STORIES[name], quick, figures, sent, stable, canary), quick, text) for name in names]
    return Trial(quick, times, sent, tuple(scripts), notes)


def _called(version: Version) -> str:
    return name_of({"host": version.host, "subset": version.subset})


def _other(scene: Scene, canary: str) -> str:
    return next(version for version in scene.versions if version != canary)


def _scenario(story: Story, plan: Plan, figures: Figures, rps: float, stable: str, canary: str) -> Scenario:
    other = story.canary(figures)
    said: Json = {
        "name": story.name,
        "about": story.about,
        "load": {"rps": rps},
        "versions": {stable: _behaviour(figures), canary: _behaviour(other)},
        "start": {"weights": {stable: 100}},
        "timeline": list(_timeline(story, plan, figures, canary)),
        "patience": f"{round(_least(plan) + PATIENCE)}s",
        "expect": {"ending": story.ending},
    }
    return Scenario.model_validate(said, context={"versions": (stable, canary)})


def _timeline(story: Story, plan: Plan, figures: Figures, canary: str) -> Iterator[Json]:
    if story.event == "drained":
        yield {"at": {"step": _percent(plan, 0), "after": "3s"}, "drain": {"version": canary}}
    if story.event == "late":
        worse = {"version": canary, "errors": _share(figures.errors + MORE_ERRORS)}
        yield {"at": {"step": _percent(plan, -1), "after": "3s"}, "fault": worse}


def _percent(plan: Plan, step: int) -> float:
    return float(str(plan.spec.steps[step].weight).removesuffix(" %"))


def _behaviour(figures: Figures) -> Json:
    dials = figures.dials()
    return {
        "errors": _share(dials["error_rate"]),
        "latency": f"{dials['base_ms']}ms",
        "spread": f"{dials['spread_ms']}ms",
        "spreadOf": _share(dials["spread_rate"]),
        "tail": f"{dials['tail_ms']}ms",
        "tailOf": _share(dials["tail_rate"]),
    }


def _share(share: float) -> str:
    return f"{100 * min(1.0, share):.6g}%"


def _least(plan: Plan) -> float:
    """Seconds that the plan takes at least."""
    spec = plan.spec
    settle = spec.analysis.settle_for() * (len(spec.steps) + 1)
    whole: timedelta = sum((step.bake for step in spec.steps), timedelta()) + settle + spec.watch
    return whole.total_seconds()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a story ended, in production's time."""

    story: Story
    ending: str
    good: bool
    after: str
    largest: float
    harmed: int
    reason: str
    report: Path


def outcome(played: Played, times: float) -> Outcome:
    """What a telling means for production, one second of the lab standing for `times`."""
    story, facts = STORIES[played.script.name], played.facts
    good = facts.ending == story.ending
    return Outcome(
        story,
        facts.ending,
        good,
        render_seconds(facts.seconds * times),
        facts.largest,
        facts.harmed,
        facts.reason,
        played.report,
    )


def told(outcomes: list[Outcome]) -> Mapping[str, str]:
    """What to make of it: a sentence for each story that did not end as one would wish."""
    said = {}
    for one in outcomes:
        if one.good:
            continue
        if one.story.name == "healthy":
            said[one.story.name] = (
                f"a healthy release would end {one.ending}: with this traffic the plan cannot prove that it is no "
                "worse before the hold ends (the lab cuts it short; in production more evidence may come in it); bake "
                "longer at the last step, allow a wider margin, or accept without proof (acceptUnproven)"
            )
        else:
            said[one.story.name] = (
                f"such a release would end {one.ending}: the plan does not see it with this traffic, or tolerates it "
                "(analysis.checks: tolerance and margin)"
            )
            if one.story.times_slower > 1 or one.story.tail_times > 1:
                said[one.story.name] += BUCKETS
    return said
