"""
The rollout plan: what the release manager writes.

These models are the only place that knows the plan's keys, units and defaults. A short plan is enough: ``target`` and
``steps`` give errors and latency against stable. ``read_plan`` finds everything that is wrong at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from math import ceil
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from canaryd.model.calendar import Blackout as Blackout
from canaryd.model.calendar import ChangeWindow as ChangeWindow
from canaryd.model.cells import Apart, Pace, Reporter, Sought
from canaryd.model.check import Check as Check
from canaryd.model.check import Tolerance as Tolerance
from canaryd.model.duration import Duration, parse_duration, render_duration
from canaryd.model.failures import SERVER, Failures, GrpcFailures, HttpFailures
from canaryd.model.gate import Approve as Approve
from canaryd.model.gate import Gate, Gates
from canaryd.model.hosts import fully_qualified
from canaryd.model.layers import Content, attributed, laid, layers_of
from canaryd.model.match import Match, audience_of
from canaryd.model.message import Messages
from canaryd.model.part import Name, PositiveDuration, Text, no_url
from canaryd.model.part import Part as Part
from canaryd.model.problem import Problem, Refused
from canaryd.model.queries import problems_of_queries
from canaryd.model.reading import LONGEST as LONGEST
from canaryd.model.reading import content_of, problems_of, shown
from canaryd.model.traffic import EVERYTHING, NOTHING, Split, Version
from canaryd.model.weight import BETWEEN, Weight, parse_weight
from canaryd.model.where import PlanWhere, both

LAST_COMPARATIVE = Split.percent(50)
"""Promotion needs proof gathered at this split or above."""

MOST_HISTORY = timedelta(hours=2)
"""Stable's history is kept with the run, and has a half-life of half an hour."""


def _rising(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    for index, (former, step) in enumerate(pairwise(steps), start=1):
        if step.weight <= former.weight and not step.weight == former.weight == NOTHING:
            raise ValueError(f"{index}.weight: weights that rise, got {step.weight} after {former.weight}")
    return steps


class Metadata(Part):
    """Who the plan is."""

    name: Name
    """The plan's name, a DNS label; with the namespace it is the identity of the plan."""
    namespace: Name = "default"
    """The namespace of the VirtualService and of everything that its short host names mean."""
    labels: dict[str, str] = {}  # noqa: RUF012  # pydantic copies it for each plan
    """Free labels; canaryd reads none."""
    annotations: dict[str, str] = {}  # noqa: RUF012  # pydantic copies it for each plan
    """Free annotations; canaryd reads none."""


class Side(Part):
    """One of the two versions: a subset of the host's DestinationRule, or a host of its own."""

    subset: Annotated[str, Field(strict=True, pattern=r"^([a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?)?$")] = ""
    """The subset's name in the DestinationRule of the host."""
    host: str = ""
    """The host of this version; may be left out where ``target.host`` says it."""

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not self.subset and not self.host:
            raise ValueError("a subset of the host's DestinationRule, or a host of its own")
        return self


class Beside(Part):
    """One more VirtualService in the plan's namespace in which the two versions move along."""

    virtual_service: Text
    """Its name."""
    routes: tuple[Text, ...] = ()
    """Names of its http entries to move; may be left out when exactly one entry fits."""


class Target(Part):
    """The object whose weights move, and the two versions in it."""

    virtual_service: Text
    """The VirtualService's name, in the plan's namespace."""
    host: Text
    """The host that clients call, as the VirtualService's destinations write it."""
    canary: Side
    """The new version."""
    stable: Side | None = None
    """The present version; when left out it is who holds all the traffic."""
    routes: tuple[Text, ...] = ()
    """Names of the http entries to move together; may be left out when exactly one entry fits."""
    also: Annotated[tuple[Beside, ...], Field(max_length=8)] = ()
    """Further VirtualServices that move along, such as the one of the gateway beside that of the mesh."""

    @model_validator(mode="after")
    def _two_versions(self) -> Self:
        names = [self.virtual_service, *(one.virtual_service for one in self.also)]
        for place, name in enumerate(names[1:]):
            if name in names[: place + 1]:
                raise ValueError(f"also.{place}.virtualService: each VirtualService once (list its routes), got {name}")
        if self.stable is not None and self.version(self.stable) == self.version(self.canary):
            raise ValueError(f"canary: another version than stable, got {self.version(self.canary)} for both")
        return self

    def version(self, side: Side) -> Version:
        """The destination that ``side`` means."""
        return Version(side.host or self.host, side.subset)


class Step(Part):
    """A weight, how long it is measured, and an optional gate after it."""

    weight: Weight = NOTHING
    """The canary's share in percent; fractions are allowed. Steps rise. Left out in a step that has only a match."""
    match: Annotated[tuple[Match, ...], Field(max_length=8)] = ()
    """Requests that go to the canary at this step whatever the weight, such as those of your own people."""
    bake: PositiveDuration = timedelta(minutes=10)
    """How long cells are gathered, after the settle time and without gaps."""
    until: Literal["bake", "evidence"] = "bake"
    """``evidence``: leave the step before its bake is full, once the canary is proven to be within the margin here."""
    least: Duration = timedelta(0)
    """With ``until: evidence``: how long is baked at least; must be shorter than ``bake``."""
    gate: Gate | None = None
    """What has to happen before the next weight."""
    min_requests: Annotated[int, Field(ge=1)] | None = None
    """Canary requests that this step must have seen before it can pass; when left out: ``analysis.minRequests``."""

    @model_validator(mode="after")
    def _sends_something(self) -> Self:
        if self.weight == NOTHING and not self.match:
            raise ValueError(
                f"weight: {BETWEEN}; got {0 if 'weight' in self.model_fields_set else 'none, and no match'}"
            )
        if self.match and self.until == "evidence":
            raise ValueError("until: bake, because matched requests are compared with nobody's and prove nothing")
        return self

    @property
    def audience(self) -> str:
        """Its match as one canonical text (see :mod:`canaryd.model.match`); empty without one."""
        return audience_of(self.match)

    @property
    def share(self) -> str:
        """What goes to the canary, in a word or two: ``5 %``, or ``match`` where only matched requests do."""
        if not self.match:
            return str(self.weight)
        return "match" if self.weight == NOTHING else f"{self.weight} and match"

    @model_validator(mode="after")
    def _least_below_bake(self) -> Self:
        if self.least and self.until != "evidence":
            raise ValueError("least: until: evidence beside it, for without that the whole bake is the least")
        if self.least >= self.bake:
            raise ValueError(f"least: a duration shorter than bake ({render_duration(self.bake)})")
        return self


Settle = Annotated[
    timedelta | Literal["auto"],
    BeforeValidator(lambda value: value if value == "auto" else parse_duration(value)),
    PlainSerializer(lambda value: value if value == "auto" else render_duration(value), return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^(auto|(\d+(ms|[dhms]))+)$"}),
]
"""A duration, or what is learned as a run begins."""
UNKNOWN_PACE = Pace()
PROPAGATION, FLUSH = 2.0, 5.0
"""Seconds: the least that a weight is given to reach the proxies, and Envoy's stats_flush_interval."""


class Analysis(Part):
    """How the run is measured and judged."""

    prometheus: Annotated[
        str,
        Field(strict=True, pattern=r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$"),
        BeforeValidator(lambda value: no_url(value, "the name of a Prometheus in the settings (prometheuses)")),
    ] = ""
    """The Prometheus that measures, by its name in canaryd's settings; when left out: the one for the namespace."""
    cell: PositiveDuration = timedelta(seconds=15)
    """The length of one window of counts; at least the scrape interval."""
    scrape: PositiveDuration = timedelta(seconds=15)
    """The scrape interval of the Prometheus that is asked."""
    settle: Settle = "auto"
    """After each change of weight: how long cells do not yet count for PASS (evidence of harm counts at once); `auto`:
    as long as istiod needs to reach the proxies (p99, 2 s at least), from one scrape to the next, and 5 s, all of it
    learned as the run begins."""
    warmup: Duration = timedelta(minutes=2)
    """From the canary's first request: how long its latency is not judged (cold caches)."""
    alpha: Annotated[float, Field(gt=0, le=0.2)] = 0.01
    """The guaranteed bound on a false rollback, over the whole run and all checks together."""
    beta: Annotated[float, Field(gt=0, le=0.2)] = 0.05
    """The guaranteed bound on promoting a canary that is worse than the margin."""
    min_requests: Annotated[int, Field(ge=1)] = 50
    """Canary requests that a step must have seen before it can pass."""
    proof_cells: Annotated[int, Field(ge=1)] = 12
    """Settled cells that the last step must hold before its proof counts (12 cells of 15 s are three minutes)."""
    max_harmed: Annotated[int, Field(strict=True, ge=1)] | None = None
    """A cap for the whole run: when more requests than this have failed at the canary beyond what stable's rate would
    have given, it is rolled back at once, without evidence and outside of ``alpha``. Default: none."""
    history: Duration = timedelta(minutes=30)
    """How much of stable is learned from Prometheus before the run's first cell, where it was kept; 0s for none."""
    clump: Annotated[float, Field(ge=1, le=50)] = 1.5
    """How many failures, or slow requests, may come together while stable's history is too short to tell."""
    http_failures: HttpFailures = ("5xx",)
    """HTTP answers that are failures: `4xx`, `5xx`, codes such as `404`, and `not 501` for one that is none. A request
    without any answer (`0`, the client gave up) is one, too, unless `not 0` is here."""
    grpc_failures: GrpcFailures = SERVER
    """gRPC statuses that are failures, whatever the HTTP status says: numbers or names such as `UNAVAILABLE`, `server`
    for those of the default, `any`, and `not NOT_FOUND` for one that is none."""
    reporter: Literal["auto", "source", "waypoint"] = "auto"
    """Whose counts are read: those of the callers' own proxies (``source``), or of the waypoint that carries the
    weights out in ambient mode; ``auto``: whoever counted most of the requests as the run began."""
    where: PlanWhere = ()
    """Only requests with these labels are counted, on both sides alike, such as `{request_operation: /checkout}`; a
    list of values is any of them. Whether callers meet the weight is still asked of all requests."""
    checks: Annotated[tuple[Check, ...], Field(min_length=1)] = (
        Check(name="errors", metric="error-rate", compare="stable"),
        Check(name="latency", metric="latency", compare="stable"),
    )
    """What is measured. When left out: errors and latency against stable."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        return self.checked()

    def checked(self) -> Self:
        """Itself. Raises ValueError where its parts do not fit together."""
        if self.cell < self.scrape:
            raise ValueError(f"cell: at least the scrape interval, {render_duration(self.scrape)}")
        if self.history > MOST_HISTORY:
            raise ValueError(f"history: at most {render_duration(MOST_HISTORY)}: what is older counts for little")
        names = [check.name for check in self.checks]
        if len(set(names)) != len(names):
            raise ValueError(f"check names that differ, got {', '.join(names)}")
        return self

    def sought(
        self,
        hosts: tuple[str, ...],
        namespace: str,
        stable: tuple[str, ...],
        canary: tuple[str, ...],
        *,
        asker: str,
        called: str,
    ) -> Sought:
        """Whose requests are counted; all of it as in :class:`Sought`."""
        return Sought(
            hosts=hosts,
            namespace=namespace,
            stable=stable,
            canary=canary,
            grpc_failures=self.grpc_failures,
            http_failures=self.http_failures,
            scrape_seconds=self.scrape.total_seconds(),
            source=self.prometheus,
            asker=asker,
            called="" if called in hosts else called,
            reporter="waypoint" if self.reporter == "waypoint" else "source",
            where=self.where,
            apart=tuple(
                Apart(check.name, both(self.where, check.where), self.failures_of(check))
                for check in self.checks
                if check.apart
            ),
        )

    @property
    def failures(self) -> Failures:
        """What counts as a failure."""
        return Failures(self.http_failures, self.grpc_failures)

    def failures_of(self, check: Check) -> Failures:
        """What counts as a failure for ``check``: its own word, or the plan's."""
        return Failures(
            self.http_failures if check.http_failures is None else check.http_failures,
            self.grpc_failures if check.grpc_failures is None else check.grpc_failures,
        )

    def settle_for(self, pace: Pace = UNKNOWN_PACE) -> timedelta:
        """
        The settle time in a mesh of that ``pace``; what is not known of it is the least, or what the plan says.

        Envoy merges its histograms every FLUSH, so that what was sent before is told of that much later.
        """
        if isinstance(self.settle, timedelta):
            return self.settle
        scrape = pace.scrape or self.scrape.total_seconds()
        return timedelta(seconds=ceil(max(PROPAGATION, pace.convergence or 0.0) + scrape + FLUSH))

    def window_of(self, check: Check) -> timedelta:
        """How much time a value of ``check`` speaks of; ``rate`` needs four scrapes to be there after a failed one."""
        return check.window or max(self.cell, 4 * self.scrape)

    def unproven_at(self, split: Split) -> tuple[Check, ...]:
        """
        Checks that are part of the proof and whose question nobody asks under ``split``.

        Two checks may ask one question with other bounds; then one of them is enough.
        """
        asked = {one.question for one in self.checks if one.proves and one.asked_at(split)}
        return tuple(one for one in self.checks if one.proves and one.question not in asked)

    @property
    def lag(self) -> timedelta:
        """How long after its end a cell is asked for: every target must have been scraped once more."""
        return self.scrape + min(self.scrape, timedelta(seconds=10))


class OnInconclusive(Part):
    """What happens when a step can neither pass nor fail."""

    hold: PositiveDuration = timedelta(hours=4)
    """How long the traffic stays for more evidence, or for a person."""
    then: Literal["rollback", "hold"] = "rollback"
    """What follows; the weight never rises because a limit ran out."""


class OnNoData(Part):
    """What happens while nothing can be measured."""

    hold: PositiveDuration = timedelta(minutes=10)
    """How long the traffic stays without data."""
    then: Literal["rollback", "hold"] = "rollback"
    """What follows."""


def _narrow(path: str) -> str:
    parts = path.split(".")
    if parts[0] in ("containers", "initContainers") and (len(parts) < 3 or parts[2] == "image"):
        raise ValueError(
            "a path below a container and beside its image, such as containers.reviews.env.ROLE: the image is what "
            "is released"
        )
    return path


class Returning(Part):
    """With ``afterPromotion: return``: when the traffic goes back to stable."""

    within: PositiveDuration = timedelta(hours=24)
    """How long the run waits for stable to run what the canary runs; then it is held, which tells a person, and waits
    on: it never fails for that."""
    ignore: tuple[Annotated[Text, AfterValidator(_narrow)], ...] = ()
    """Where the pod templates of the two may differ: paths as the run names them, each with all below it."""


class Accepted(Part):
    """An error of preflight that a person has looked at, and lets pass."""

    code: Annotated[str, Field(strict=True, pattern=r"^[A-Z][A-Za-z0-9]+$")]
    """The finding's code, as docs/preflight.md lists it; what admission itself refuses cannot be accepted."""
    reason: Text
    """Why it is no obstacle here; it stands in the run's findings for ever."""


class Start(Part):
    """Where a run may start."""

    from_: Annotated[Literal["stable", "current"], Field(alias="from")] = "stable"
    """``stable``: only where stable holds everything. ``current``: also from a split at or below the first step."""


def end_where_promotion_is_proven(steps: Sequence[Step]) -> None:
    """Raises ValueError where the last of ``steps`` is too low to compare at."""
    if steps[-1].weight < LAST_COMPARATIVE:
        raise ValueError(
            f"steps.{len(steps) - 1}.weight: a last step of 50 % or more, where promotion is proven, "
            f"got {steps[-1].weight} (or give acceptUnproven a reason)"
        )


class Spec(Part):
    """The plan proper."""

    target: Target
    """What moves, and between which two versions."""
    steps: Annotated[tuple[Step, ...], Field(min_length=1), AfterValidator(_rising)]
    """The weights on the way, rising; the last one at 50 % or more, where promotion is proven."""
    release: Text = "1"
    """What is released. A new value starts a new run; the same value applied again starts nothing."""
    analysis: Analysis = Analysis()
    """How it is measured and judged."""
    on_inconclusive: OnInconclusive = OnInconclusive()
    """A step that can neither pass nor fail: how long to hold, and what then."""
    on_no_data: OnNoData = OnNoData()
    """Nothing can be measured: how long to hold, and what then."""
    on_drift: Literal["hold", "reassert", "abort"] = "hold"
    """Somebody else changed the weights: hold and say so, set them again, or abort the run."""
    on_canary_change: Literal["restart", "abort"] = "restart"
    """A new image of the canary in mid-run: start over from zero, or abort."""
    on_new_release: Literal["replace", "queue", "refuse"] = "replace"
    """A new ``release`` in mid-run: roll back and run it, run it after this one has ended, or do not run it."""
    mode: Literal["active", "observe"] = "active"
    """``observe``: everything but patches; the journal says what would have been written."""
    from_: Annotated[str, Field(alias="from")] = ""
    """The name of a policy: what the plan leaves out is taken from there. When left out: the policy ``default``."""
    gates: Gates = Gates()
    """Gates before the start and before promotion, and who is told of the end."""
    messages: Annotated[tuple[Messages, ...], Field(max_length=8)] = ()
    """The channels that are told of the plan's runs, and what of."""
    remind: Duration = timedelta(minutes=30)
    """How long before the limit of a gate or hold a reminder is told (`run.reminded`), at most a quarter of that limit;
    0s for none."""
    windows: tuple[ChangeWindow, ...] = ()
    """When runs may start and rise; outside of all of them what bakes goes on baking. When left out: at any time."""
    blackouts: tuple[Blackout, ...] = ()
    """When nothing starts and nothing rises, whatever the windows say."""
    start: Start = Start()
    """Where the traffic must stand for a run to start."""
    accept_findings: tuple[Accepted, ...] = ()
    """Errors of preflight that do not stop this plan, each with a reason."""
    watch: Duration = timedelta(minutes=10)
    """After 100 %: how long objectives and readiness are watched with the rollback armed."""
    after_promotion: Literal["keep", "return"] = "keep"
    """``keep``: the canary has all the traffic at the end. ``return``: the run waits until stable's Deployment runs
    what the canary runs, and gives stable all the traffic back; for versions that are fixed roles in Git."""
    undo_within: PositiveDuration = timedelta(hours=24)
    """How long after a promotion it can be undone by one command, without judging anything again."""
    returning: Returning = Returning()
    """With ``afterPromotion: return``: how long it waits, and what may differ."""
    accept_unproven: str = ""
    """A reason to promote without proof of non-inferiority; the run is marked with it for ever."""

    @model_validator(mode="after")
    def _promotion_is_proven(self) -> Self:
        for place, step in enumerate(self.steps):
            if step.match and step.weight != NOTHING and any(check.compare for check in self.analysis.checks):
                raise ValueError(
                    f"steps.{place}.match: no weight beside it where a check compares with stable: the canary would "
                    "answer other people than stable does; give the match a step of its own, before the weights"
                )
        comparing = any(check.proves for check in self.analysis.checks)
        if self.accept_unproven:
            return self
        if not comparing:
            raise ValueError(
                "acceptUnproven: a reason, because no check compares with stable and has a margin: "
                "promotion cannot be proven"
            )
        end_where_promotion_is_proven(self.steps)
        return self

    @model_validator(mode="after")
    def _checks_are_asked(self) -> Self:
        """What is only asked at some weights is asked somewhere, and what proves where something is proven."""
        checks, last = self.analysis.checks, self.steps[-1]
        for place, check in enumerate(checks):
            watched = check.compare is None and check.metric != "traffic" and check.asked_at(EVERYTHING)
            if not watched and not any(check.asked_at(step.weight) for step in self.steps):
                raise ValueError(f"analysis.checks.{place}.weights: weights that a step of the plan has")
        if not self.accept_unproven and (missing := self.analysis.unproven_at(last.weight)):
            raise ValueError(
                f"analysis.checks.{checks.index(missing[0])}.weights: {last.weight} among them, or another check of "
                f"{missing[0].metric} that is asked there: what is compared with stable is proven at the last step"
            )
        for place, step in enumerate(self.steps):
            if step.until == "evidence" and (missing := self.analysis.unproven_at(step.weight)):
                raise ValueError(f"steps.{place}.until: bake, for {missing[0].name} is not asked at {step.weight}")
        if not self.accept_unproven and self.least_requests(last) < self.analysis.min_requests:
            raise ValueError(
                f"steps.{len(self.steps) - 1}.minRequests: at least analysis.minRequests "
                f"({self.analysis.min_requests}), which the proof needs"
            )
        return self

    def least_requests(self, step: Step) -> int:
        """Canary requests without which ``step`` does not pass."""
        return step.min_requests or self.analysis.min_requests


class Plan(Part):
    """A rollout plan, as in ``config/plans/``."""

    api_version: Literal["canaryd.io/v1alpha1"] = "canaryd.io/v1alpha1"
    """The version of this page."""
    kind: Literal["CanaryPlan"] = "CanaryPlan"
    """A rollout plan."""
    metadata: Metadata
    """Its name and namespace."""
    spec: Spec
    """What it says."""

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.metadata.namespace

    @property
    def called(self) -> str:
        """The host that clients call, in full."""
        return fully_qualified(self.spec.target.host, self.namespace)

    @property
    def parts(self) -> tuple[Plan, ...]:
        """The plan as it is for each of its objects, which then is the target; the others move along."""
        target = self.spec.target
        places = (Beside(virtual_service=target.virtual_service, routes=target.routes), *target.also)
        return tuple(
            self._at(target.model_copy(update={"virtual_service": one.virtual_service, "routes": one.routes,
                                               "also": tuple(each for each in places if each is not one)}))
            for one in places
        )  # fmt: skip

    def _at(self, target: Target) -> Plan:
        return self.model_copy(update={"spec": self.spec.model_copy(update={"target": target})})

    @property
    def webhooks(self) -> dict[str, str]:
        """The webhooks that the plan names, each with the path at which it does so first."""
        found = [
            (hook.name, f"{path}.webhooks.{place}.name")
            for path, gate in self._gates
            for place, hook in enumerate(gate.webhooks)
        ]
        found += [(name, f"spec.gates.end.{place}") for place, name in enumerate(self.spec.gates.end)]
        return dict(reversed(found))

    @property
    def channels(self) -> dict[str, str]:
        """The channels that the plan names, each with the path at which it does so first."""
        named = [(one.channel, f"spec.messages.{place}.channel") for place, one in enumerate(self.spec.messages)]
        return dict(reversed(named))

    @property
    def alerts(self) -> dict[str, str]:
        """The alerts that the plan names, each with the path at which it does so first."""
        named = [
            (name, f"{path}.alert.names.{place}")
            for path, gate in self._gates
            if gate.alert
            for place, name in enumerate(gate.alert.names)
        ]
        return dict(reversed(named))

    @property
    def _gates(self) -> list[tuple[str, Gate]]:
        """Every gate with its path."""
        gates = [(f"spec.steps.{place}.gate", step.gate) for place, step in enumerate(self.spec.steps)]
        gates += [("spec.gates.start", self.spec.gates.start), ("spec.gates.promotion", self.spec.gates.promotion)]
        return [(path, gate) for path, gate in gates if gate is not None]

    @property
    def accepted(self) -> dict[str, str]:
        """The codes of findings that do not stop this plan, with the reason for each."""
        return {one.code: one.reason for one in self.spec.accept_findings}

    @property
    def digest(self) -> str:
        """
        A short fingerprint of what is in force; comments and the order of keys do not change it.

        Nor does the policy that a value was taken from.
        """
        text = json.dumps(self.model_dump(mode="json", by_alias=True, exclude={"spec": {"from_"}}), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def observes(self) -> bool:
        """Whether nothing is to be written to the mesh."""
        return self.spec.mode == "observe"

    def in_mode(self, mode: Literal["active", "observe"]) -> Plan:
        """The plan under a process that is in ``mode``: one that only observes goes before what the plan says."""
        if mode == "active" or self.observes:
            return self
        return self.model_copy(update={"spec": self.spec.model_copy(update={"mode": mode})})

    def measured_by(self, source: str) -> Plan:
        """This plan, with the name of the Prometheus that measures it; empty for the one without a name."""
        return self._analysed(prometheus=source)

    def reported_by(self, reporter: Reporter) -> Plan:
        """This plan, with who counts in the place of ``auto``."""
        return self._analysed(reporter=reporter) if self.spec.analysis.reporter == "auto" else self

    def _analysed(self, **keys: object) -> Plan:
        analysis = self.spec.analysis.model_copy(update=keys)
        return self.model_copy(update={"spec": self.spec.model_copy(update={"analysis": analysis})})

    def same_as(self, copy: Plan) -> bool:
        """Whether this plan says what the ``copy`` in a run says, which names what was chosen where a plan need not."""
        named = self.spec.analysis.prometheus or copy.spec.analysis.prometheus
        chosen = copy.spec.analysis.reporter
        plan = self.measured_by(named)
        return (plan if chosen == "auto" else plan.reported_by(chosen)).digest == copy.digest

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def read_plan(text: str, source: str = "plan", policies: Mapping[str, Content] | None = None) -> Plan:
    """
    The plan in a YAML text, over ``policies`` (their objects by name; None where nobody said where they are).

    Raises :class:`Refused` with *every* problem: unknown keys with a suggestion, wrong types, values out of range.
    """
    content = content_of(text, source)
    if not isinstance(content, Mapping):
        raise Refused([Problem(source, shown(content), "a mapping with apiVersion, kind, metadata and spec")])
    return plan_of(content, source, policies)


def plan_of(content: Content, source: str = "plan", policies: Mapping[str, Content] | None = None) -> Plan:
    """
    The plan that ``content`` says, with what it leaves out taken from its policies.

    Raises :class:`Refused` with every problem; the path of what a policy said names the policy.
    """
    layers = layers_of(content, policies, source)
    whole = laid(content, layers)
    try:
        plan = Plan.model_validate(whole)
    except ValidationError as error:
        raise Refused(attributed(problem, layers) for problem in _all_problems(error, whole)) from error
    if problems := tuple(problems_of_queries(whole, plan)):
        raise Refused(attributed(problem, layers) for problem in problems)
    return plan


def _all_problems(error: ValidationError, content: Mapping[Any, Any]) -> list[Problem]:
    """Every fault as a problem, and what validation did not come to see because of them."""
    problems = problems_of(error, Plan)
    known = {problem.path for problem in problems}
    unseen = (*_falling(content), *problems_of_queries(content))
    return [*problems, *(one for one in unseen if one.path not in known)]


def _falling(content: Mapping[Any, Any]) -> Iterator[Problem]:
    """Weights that do not rise, seen also where something else in ``steps`` is wrong."""
    spec = content.get("spec")
    steps = spec.get("steps") if isinstance(spec, Mapping) else None
    former = None
    for index, step in enumerate(steps if isinstance(steps, list) else ()):
        try:
            weight = parse_weight(step["weight"])
        except (ValueError, TypeError, KeyError):
            continue
        if former is not None and weight <= former and not weight == former == NOTHING:  # type: ignore[operator]  # Splits
            yield Problem(f"spec.steps.{index}.weight", "", f"weights that rise, got {weight} after {former}")
        former = weight
