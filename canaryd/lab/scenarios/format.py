"""
The scenario: what a person writes down to see a plan tried.

These models are the only place that knows the keys, units and defaults. ``read_scenario`` finds everything that is
wrong at once, as ``read_plan`` does. A scenario names no machine: the same file is played on any lab.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from canaryd.lab import bookinfo
from canaryd.lab.load import GRPC
from canaryd.lab.scenarios.calendar import Calendar
from canaryd.lab.scenarios.shapes import Constant, Diurnal, Ramp, Shape, Spikes, Steps
from canaryd.lab.scene import name_of
from canaryd.model.decision import Told
from canaryd.model.duration import Duration, parse_duration
from canaryd.model.part import Name, Part, PositiveDuration, Share, Text
from canaryd.model.plan import Plan, read_plan
from canaryd.model.problem import Problem, Refused
from canaryd.model.reading import content_of, problems_of, shown
from canaryd.model.traffic import Version

LIBRARY = Path(__file__).with_name("library")
PLAN = Path(__file__).parents[1] / "trials.yaml"
"""The plan of a scenario that names none: three steps at the lab's pace."""

Rate = Annotated[float, Field(ge=0, le=2000)]


def _exactly_one(part: Part, names: tuple[str, ...], what: str) -> None:
    given = [name for name in names if getattr(part, name) is not None]
    if len(given) != 1:
        found = f"got {' and '.join(given)}" if given else "got none"
        raise ValueError(f"exactly one {what}: {', '.join(names)}; {found}")


def _known(version: str, info: ValidationInfo) -> str:
    known = (info.context or {}).get("versions", bookinfo.VERSIONS)
    if version not in known:
        raise ValueError(f"a version that the lab has: {', '.join(known)}")
    return version


def _parse_seconds(value: object) -> timedelta:
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return timedelta(seconds=value)
    return parse_duration(value)


def _an_object(value: dict[str, Any]) -> dict[str, Any]:
    about = value.get("metadata")
    if not (value.get("apiVersion") and value.get("kind") and isinstance(about, Mapping) and about.get("name")):
        raise ValueError("an object with apiVersion, kind and metadata.name")
    return value


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _file_or_keys(value: object) -> object:
    if isinstance(value, str | Mapping) and value:
        return value
    raise ValueError("a plan's file beside the scenario, or a mapping with keys of a plan's spec")


VersionName = Annotated[Text, AfterValidator(_known)]
Weights = Annotated[dict[VersionName, Annotated[int, Field(ge=0, le=100)]], Field(min_length=1)]
Seconds = Annotated[timedelta, BeforeValidator(_parse_seconds), WithJsonSchema({"type": ["string", "number"]})]


# The load


class DiurnalLoad(Part):
    """A day and its night: a cosine between two rates."""

    low: Rate
    """Requests a second at night, where it begins."""
    high: Rate
    """Requests a second at noon."""
    period: PositiveDuration = timedelta(minutes=1)
    """How long a day takes."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.high < self.low:
            raise ValueError(f"high: at least low ({self.low:g}), got {self.high:g}")
        return self


class SpikesLoad(Part):
    """A base, and bursts on top of it whose moments the seed draws."""

    base: Rate
    """Requests a second between the spikes."""
    peak: Rate
    """Requests a second in a spike."""
    every: PositiveDuration
    """One spike in each such stretch of time."""
    lasting: PositiveDuration
    """How long a spike is; shorter than ``every``."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.lasting >= self.every:
            raise ValueError("lasting: a duration shorter than every")
        return self


class RampLoad(Part):
    """From one rate to another in a straight line."""

    from_: Annotated[Rate, Field(alias="from")]
    """Requests a second at the beginning."""
    to: Rate
    """Requests a second from ``over`` on."""
    over: PositiveDuration
    """How long it takes."""


class Stretch(Part):
    """One rate for a while."""

    rps: Rate
    """Requests a second."""
    for_: Annotated[PositiveDuration | None, Field(alias="for")] = None
    """How long; the last one stays."""


class Load(Part):
    """Requests of many independent users (open loop): exactly one shape, and how they arrive."""

    rps: Rate | None = None
    """A constant rate, in requests a second."""
    diurnal: DiurnalLoad | None = None
    """Day and night."""
    spikes: SpikesLoad | None = None
    """A base with bursts."""
    ramp: RampLoad | None = None
    """A straight line."""
    steps: Annotated[tuple[Stretch, ...] | None, Field(min_length=1)] = None
    """One rate after the other."""

    @model_validator(mode="after")
    def _one_shape(self) -> Self:
        _exactly_one(self, ("rps", "diurnal", "spikes", "ramp", "steps"), "shape")
        for index, stretch in enumerate((self.steps or ())[:-1]):
            if stretch.for_ is None:
                raise ValueError(f"steps.{index}.for: a duration; only the last step may be without one")
        return self

    def shape(self, seed: int) -> Shape:
        """Requests a second as a function of time."""
        if self.diurnal:
            return Diurnal(self.diurnal.low, self.diurnal.high, self.diurnal.period.total_seconds())
        if self.spikes:
            one = self.spikes
            return Spikes(one.base, one.peak, one.every.total_seconds(), one.lasting.total_seconds(), seed)
        if self.ramp:
            return Ramp(self.ramp.from_, self.ramp.to, self.ramp.over.total_seconds())
        if self.steps:
            return Steps([(one.rps, one.for_.total_seconds() if one.for_ else 0.0) for one in self.steps])
        return Constant(self.rps or 0.0)


class Traffic(Load):
    """The load from the beginning."""

    arrivals: Literal["poisson", "even"] = "poisson"
    """``poisson``: as of independent users; ``even``: the same gap between all."""
    protocol: Literal["http", "grpc"] = "http"
    """What the clients speak."""

    @property
    def grpc(self) -> bool:
        return self.protocol == GRPC


# What versions are like


class Behaviour(Part):
    """How slow a version is and how often it fails; what is left out stays as it is."""

    errors: Share | None = None
    """The share of plain requests that fail."""
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    """The HTTP status of those; 500 at first, because a retry may hide a 503."""
    part_errors: Share | None = None
    """The share of plain requests with the header ``x-lab-part`` that fail besides: one route of many."""
    grpc_errors: Share | None = None
    """The share of gRPC requests that fail, on HTTP 200."""
    grpc_status: Annotated[int, Field(ge=0, le=16)] | None = None
    """The gRPC status of those; 13 at first."""
    latency: Duration | None = None
    """What every request takes at least; 12ms at first."""
    spread: Duration | None = None
    """What some take longer; 6ms at first."""
    spread_of: Share | None = None
    """The share of those; 40% at first."""
    tail: Duration | None = None
    """What few take longer; 30ms at first."""
    tail_of: Share | None = None
    """The share of those; 10% at first."""

    def dials(self) -> dict[str, Any]:
        """As the lab's dials are named (see :class:`canaryd.lab.faults.Fault`), only those that are set."""
        dials = {
            "error_rate": self.errors,
            "http_status": self.status,
            "part_error_rate": self.part_errors,
            "grpc_error_rate": self.grpc_errors,
            "grpc_status": self.grpc_status,
            "base_ms": _milliseconds(self.latency),
            "spread_ms": _milliseconds(self.spread),
            "spread_rate": self.spread_of,
            "tail_ms": _milliseconds(self.tail),
            "tail_rate": self.tail_of,
        }
        return {name: value for name, value in dials.items() if value is not None}


# What happens


class Fault(Behaviour):
    """One or more versions behave otherwise."""

    version: Annotated[tuple[VersionName, ...], BeforeValidator(_listed), Field(min_length=1)]
    """Which, or a list of them."""
    pod: Annotated[int, Field(ge=0)] | None = None
    """Only one of its pods, counted from 0 in the order of their names; all when left out."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.dials():
            raise ValueError("at least one of errors, latency, tail and the like, or nothing would happen")
        return self


class Pods(Part):
    """A version's pods."""

    version: VersionName
    """Whose."""
    pods: Annotated[int, Field(ge=1)] | None = None
    """How many, the first in the order of their names; all when left out."""


class Refuse(Part):
    """Nothing listens any more at a version's pods, though they are ready: connections are refused."""

    version: VersionName
    """Whose."""
    pod: Annotated[int, Field(ge=0)] | None = None
    """Only one of its pods, counted from 0 in the order of their names; all when left out."""


class Restart(Part):
    """Every pod of a version is replaced by a new one of the same template: evicted, or crashed."""

    version: VersionName
    """Whose pods."""


class Image(Part):
    """A version's Deployment gets another image, and is rolled out at once."""

    version: VersionName
    """Whose."""
    image: Text
    """Any name that is not the present one."""


class PrometheusTrouble(Part):
    """Prometheus does not answer."""

    away: PositiveDuration
    """How long it is away; what it has measured before is kept."""


class ApiTrouble(Part):
    """The Kubernetes API does not answer, or not as it should. One of the three."""

    away: PositiveDuration | None = None
    """How long nobody listens there."""
    answers: Literal[409, 429, 500, 503] | None = None
    """Requests that ``to`` matches are refused with this status."""
    slow: PositiveDuration | None = None
    """Requests that ``to`` matches are carried out so much later."""
    to: Literal["patch", "get", "list", "all"] = "patch"
    """The verb that ``answers`` and ``slow`` are for, on VirtualServices; ``all``: every request of any kind."""
    times: Annotated[int, Field(ge=1)] | None = None
    """So many requests; every one when left out."""

    @model_validator(mode="after")
    def _one_trouble(self) -> Self:
        _exactly_one(self, ("away", "answers", "slow"), "trouble")
        return self


class GitOps(Part):
    """A controller that keeps the VirtualService's ``http`` as Git has it: looked at again and again, put back."""

    weights: Weights
    """What Git says, as destinations in this order."""
    every: PositiveDuration = timedelta(seconds=5)
    """How often it looks."""


class Edit(Part):
    """Somebody edits the VirtualService by hand."""

    weights: Weights | None = None
    """The weights that are written; canaryd's marker stays."""
    entry: Annotated[dict[str, Any] | None, Field(min_length=1)] = None
    """Keys of the http entry that are set, such as ``timeout: 3s``; the others stay."""

    @model_validator(mode="after")
    def _one_edit(self) -> Self:
        _exactly_one(self, ("weights", "entry"), "edit")
        return self


class Say(Part):
    """A person's command, as it is typed: ``canaryd hold reviews --reason ...``."""

    verb: Literal["abort", "approve", "hold", "resume", "adopt", "advance", "skip", "promote"]
    """Which; `adopt` is `canaryd resume --adopt`, and `skip` is `canaryd skip-step`."""
    reason: str = ""
    """Its ``--reason``."""
    force: bool = False
    """``abort --force``, or ``promote --to-100``."""
    step: Annotated[int | None, Field(ge=1)] = None
    """The step that `skip` leaves out, from 1."""


class Freeze(Part):
    """Somebody freezes all runs (``canaryd freeze``), or stops them (``canaryd stop``); what lasts is thawed again."""

    stop: bool = False
    """``canaryd stop``: what is in flight is rolled back."""


class Kill(Part):
    """canaryd is killed (``kill -9``), and started again with the same command."""

    again: Duration = timedelta(seconds=1)
    """How much later."""


class Stream(Part):
    """Further requests, beside the load: from where, to whom, with what in them. It has books of its own."""

    name: Name
    """How ``expect.reached`` calls it."""
    rps: Annotated[float, Field(gt=0, le=500)] = 20
    """Requests a second."""
    from_: Annotated[Literal["client", "other", "ingress"], Field(alias="from")] = "client"
    """Where they are sent: productpage's sidecar, a second client's, or the ingress gateway."""
    host: Text = f"{bookinfo.SERVICE}:{bookinfo.PORT}"
    """The host they ask for."""
    path: Text = "/reviews/0"
    """The path they ask for."""
    headers: dict[str, str] = {}  # noqa: RUF012  # pydantic copies it
    """Their headers, a cookie among them."""


class Moment(Part):
    """A moment in the life of the run, and some time after it. A plain number or duration counts from its beginning."""

    seconds: Seconds | None = None
    """So long after the run began."""
    step: Annotated[float, Field(gt=0, lt=100)] | None = None
    """Once the run bakes at this weight (percent)."""
    phase: Literal["pending", "baking", "held", "watching", "returning", "rolling back"] | None = None
    """Once the run is in this phase."""
    after: Duration = timedelta(0)
    """So long after that was first seen (for a step: after its weight was written)."""

    @model_validator(mode="after")
    def _one_moment(self) -> Self:
        _exactly_one(self, ("seconds", "step", "phase"), "moment")
        return self

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return {"seconds": value} if isinstance(value, str | int | float) and not isinstance(value, bool) else value


ACTS = (
    "fault", "drain", "restore", "refuse", "restart", "image", "prometheus", "api", "gitops", "edit", "say",
    "freeze", "kill", "load",
)  # fmt: skip


class Event(Part):
    """One thing that happens: when, and exactly one act."""

    at: Moment
    """Seconds since the run began, or a moment in its life: ``{step: 25, after: 4s}``."""
    name: Name = "event"
    """How ``expect.within.of`` calls it."""
    for_: Annotated[PositiveDuration | None, Field(alias="for")] = None
    """How long it lasts; then it is as it was before. For good when left out."""
    fault: Fault | None = None
    """Versions behave otherwise."""
    drain: Pods | None = None
    """Pods are no longer ready."""
    restore: Pods | None = None
    """All pods of a version are ready again."""
    refuse: Refuse | None = None
    """Nobody listens."""
    restart: Restart | None = None
    """Pods are replaced."""
    image: Image | None = None
    """Another image."""
    prometheus: PrometheusTrouble | None = None
    """Prometheus is away."""
    api: ApiTrouble | None = None
    """The Kubernetes API is away or in trouble."""
    gitops: GitOps | None = None
    """Git is put back."""
    edit: Edit | None = None
    """A hand edits."""
    say: Say | None = None
    """A person commands."""
    freeze: Freeze | None = None
    """Nothing starts and nothing rises."""
    kill: Kill | None = None
    """canaryd dies, and comes again."""
    load: Load | None = None
    """The traffic is otherwise."""

    @model_validator(mode="after")
    def _one_act(self) -> Self:
        _exactly_one(self, ACTS, "act")
        if self.for_ and self.act in ("restore", "restart", "image", "edit", "say", "kill"):
            raise ValueError(f"for: nothing; {self.act} happens once")
        if self.for_ and (self.prometheus or (self.api and self.api.away)):
            raise ValueError(f"for: nothing here; {self.act}.away says how long")
        return self

    @property
    def act(self) -> str:
        """The name of what happens."""
        return next(name for name in ACTS if getattr(self, name) is not None)

    @property
    def lasts(self) -> timedelta | None:
        """How long it lasts, however that is said."""
        return self.for_ or (self.prometheus.away if self.prometheus else None) or (self.api.away if self.api else None)


class Start(Part):
    """How things stand before canaryd begins, where that is not as usual."""

    weights: Weights = {"v1": 100}  # noqa: RUF012  # pydantic copies it
    """The VirtualService's destinations."""
    entry: dict[str, Any] = {}  # noqa: RUF012  # as above
    """Further keys of its http entry, such as ``retries``, ``timeout`` or ``fault``."""
    objects: tuple[Annotated[dict[str, Any], AfterValidator(_an_object)], ...] = ()
    """Objects of the Kubernetes API that are there as well, or instead of the lab's of the same kind and name."""
    drained: tuple[VersionName, ...] = ()
    """Versions without a ready pod."""
    away: tuple[Literal["prometheus", "api"], ...] = ()
    """What does not answer."""


# What is expected

Ending = Literal["promoted", "rolled back", "aborted", "inconclusive", "refused", "held", "waiting", "left in flight"]


class Within(Part):
    """How soon after an event the canary had no traffic any more."""

    limit: PositiveDuration
    """At most so long."""
    of: Name = "event"
    """The event's name."""
    from_: Annotated[Literal["start", "end"], Field(alias="from")] = "start"
    """From the event's beginning, or from its end."""


class Expect(Part):
    """What must be observed. Each key that is there is one line of the comparison."""

    ending: Annotated[tuple[Ending, ...], BeforeValidator(_listed), Field(min_length=1)]
    """How it ends, or a list of endings that are all right. ``held`` and ``waiting``: so it stands at ``patience``."""
    before: Annotated[float, Field(gt=0, le=100)] | None = None
    """canaryd never gives the canary this weight (percent) or more."""
    at_least: Annotated[float, Field(gt=0, le=100)] | None = None
    """canaryd gives the canary this weight (percent) at one time."""
    within: Within | None = None
    """The canary had no traffic so soon after an event."""
    reason: Annotated[tuple[Text, ...], BeforeValidator(_listed)] = ()
    """Words that the last reason (of a refusal: what is printed) holds."""
    told: Annotated[tuple[Told, ...], BeforeValidator(_listed)] = ()
    """Events that the run's journal holds (docs/operations.md lists them)."""
    said: Annotated[tuple[Text, ...], BeforeValidator(_listed)] = ()
    """Words that a reason holds with which the journal tells an event, each those of one."""
    never_told: Annotated[tuple[Told, ...], BeforeValidator(_listed)] = ()
    """Events that it does not hold."""
    harmed: Annotated[int, Field(ge=0)] | None = None
    """At most so many clients' requests failed at the canary or were slow there."""
    failed: Annotated[int, Field(ge=0)] | None = None
    """At most so many clients' requests failed in all."""
    entry: dict[str, Any] = {}  # noqa: RUF012  # pydantic copies it
    """Keys that the VirtualService's http entry has at the end."""
    reached: dict[Name, dict[VersionName, Annotated[int, Field(ge=0)]]] = {}  # noqa: RUF012  # as above
    """By stream: requests that a version answered, at least."""
    weight: Annotated[float, Field(ge=0, le=100)] | None = None
    """The canary's weight (percent) at the end; by default what the ending implies."""


class Scenario(Part):
    """What happens to a service while a plan is carried out, and how that must end."""

    name: Name
    """A DNS label; the file is named for it."""
    about: Text
    """One sentence."""
    seed: int = 1
    """Of the arrivals and the spikes."""
    plan: Annotated[Any, BeforeValidator(_file_or_keys), WithJsonSchema({"type": ["string", "object"]})] = None
    """A plan's file beside this one, or keys of a plan's ``spec`` that replace those of the lab's usual plan."""
    load: Traffic = Traffic(rps=300)
    """The traffic."""
    streams: tuple[Stream, ...] = ()
    """Further traffic beside it, from other clients or of other users."""
    versions: dict[VersionName, Behaviour] = {"v1": Behaviour(errors=0.001), "v3": Behaviour(errors=0.001)}  # noqa: RUF012
    """How the versions behave from the beginning; one that is not named is healthy."""
    start: Start = Start()
    """What is not as usual before canaryd begins."""
    calendar: Calendar = Calendar()
    """When the plan lets nothing rise, in seconds since canaryd was started."""
    timeline: tuple[Event, ...] = ()
    """What happens."""
    patience: PositiveDuration = timedelta(minutes=8)
    """How long canaryd may take; then it is told to end (by SIGTERM), and rolls back."""
    expect: Expect
    """How it must end."""

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        names = {event.name for event in self.timeline}
        if self.expect.within and self.expect.within.of not in names:
            raise ValueError(f"expect.within.of: the name of an event: {', '.join(sorted(names)) or 'there is none'}")
        streams = {stream.name for stream in self.streams}
        if unknown := self.expect.reached.keys() - streams:
            known = ", ".join(sorted(streams)) or "there is none"
            raise ValueError(f"expect.reached.{min(unknown)}: the name of a stream: {known}")
        return self


@dataclass(frozen=True)
class Script:
    """A scenario that has been read: itself, the plan that it carries out, and the file of either."""

    scenario: Scenario
    plan: Plan
    plan_text: str
    """The plan as YAML, as ``canaryd run`` is given it."""

    @property
    def name(self) -> str:
        return self.scenario.name

    @property
    def canary(self) -> str:
        """The new version, as the lab calls it."""
        target = self.plan.spec.target
        return _called(target.version(target.canary))

    @property
    def stable(self) -> str:
        """The present version, as the lab calls it."""
        target = self.plan.spec.target
        return _called(target.version(target.stable)) if target.stable else bookinfo.VERSIONS[0]

    @property
    def books(self) -> tuple[str, str]:
        """Stable and canary as their pods name themselves to clients: a Service of one version is named for it."""
        return self.stable.removeprefix(f"{bookinfo.SERVICE}-"), self.canary.removeprefix(f"{bookinfo.SERVICE}-")


def _called(version: Version) -> str:
    return name_of({"host": version.host, "subset": version.subset})


def read_scenario(text: str, source: str = "scenario", beside: Path = LIBRARY) -> Script:
    """
    The scenario in a YAML text, with its plan; ``beside`` is the folder in which it looks for that.

    Raises Refused with every problem: path, value, what was expected.
    """
    content = content_of(text, source, "scenario")
    if not isinstance(content, Mapping):
        raise Refused([Problem(source, shown(content), "a mapping with name, about and expect")])
    try:
        scenario = Scenario.model_validate(content)
    except ValidationError as error:
        raise Refused(problems_of(error, Scenario)) from error
    plan_text, plan = _plan_of(scenario, beside)
    return Script(scenario, plan, plan_text)


def load_scenario(which: str) -> Script:
    """
    The scenario of a file, or of the library by its name.

    Raises Refused for one that is wrong, or where there is none.
    """
    file = Path(which)
    if file.suffix not in (".yaml", ".yml") and "/" not in which:
        file = LIBRARY / f"{which}.yaml"
        if not file.exists():
            raise Refused([_unknown(which)])
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused([Problem(which, "", f"a scenario's file that can be read ({error})")]) from error
    return read_scenario(text, str(which), file.parent)


def library() -> tuple[str, ...]:
    """The names of the library's scenarios, in order."""
    return tuple(sorted(file.stem for file in LIBRARY.glob("*.yaml")))


def _unknown(which: str) -> Problem:
    from difflib import get_close_matches

    close = get_close_matches(which, library(), n=1)
    remedy = f"did you mean {close[0]}?" if close else "canaryd lab scenarios lists them; a file ends in .yaml"
    return Problem("NAME", which, "a scenario of the library, or a file", remedy)


def _plan_of(scenario: Scenario, beside: Path) -> tuple[str, Plan]:
    """The plan's text and what it says. Problems of an inline plan are found below ``plan``."""
    if isinstance(scenario.plan, str):
        file = beside / scenario.plan
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Refused([Problem("plan", str(file), f"a plan's file beside the scenario ({error})")]) from error
        return text, read_plan(text, scenario.plan)
    usual = yaml.safe_load(PLAN.read_text(encoding="utf-8"))
    usual["spec"] |= scenario.plan or {}
    text = yaml.safe_dump(usual, sort_keys=False)
    try:
        return text, read_plan(text, "plan")
    except Refused as refused:
        problems = [replace(one, path=_below_plan(one.path)) for one in refused.problems]
        raise Refused(problems) from refused


def _below_plan(path: str) -> str:
    return f"plan.{path.removeprefix('spec.')}" if path.startswith("spec.") else path


def _milliseconds(duration: timedelta | None) -> int | None:
    return None if duration is None else round(duration.total_seconds() * 1000)
