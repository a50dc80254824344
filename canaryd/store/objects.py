"""
Runs as objects of the Kubernetes API, both ways, without talking to it.

A run is two objects of one name: the ``CanaryRun`` has the plan, what people ask, and a status for people; the
``CanaryRecord`` has the machine's memory, saved by compare-and-swap. What the machine knows it reads from the record
only. A ``CanaryRun`` alone is a run that has not begun, or whose memory is lost.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from canaryd.errors import Rejected
from canaryd.kube import GROUP, VERSION
from canaryd.model.cells import Cell, Counts, Gap, Segment
from canaryd.model.finding import Finding
from canaryd.model.harm import NOBODY
from canaryd.model.judgement import VERSION as JUDGE
from canaryd.model.plan import Plan
from canaryd.model.run import PROVEN, Command, Latch, Outcome, Phase, Record, Run
from canaryd.model.traffic import Entry, Route, Split, Version
from canaryd.store.definitions import DECISIONS, LONGEST_TEXT, MOST_ITEMS

Object = dict[str, Any]

SCHEMA = 1
"""How a record's data is written."""
RARE = ("whole", "portions")
"""What few cells have, and what is left out of those that have not."""
FULL_CELLS = 120
"""The newest cells, kept with all that was counted; half an hour in cells of 15 s."""
MOST_CELLS = 12_000
"""Cells of a run beyond which the oldest go; two days in cells of 15 s."""
KEPT_CELLS = 2_000
"""Cells of a run that is over: some 34 KiB, the newest that are whole apart."""
RESTORED_AFTER = 120.0
"""Seconds between the run's beginning and its object's creation after which the object must come from a backup."""
PLAN_LABEL = f"{GROUP}/plan"

_RUN = TypeAdapter(Run)
_COMMAND = TypeAdapter(Command)
_API = f"{GROUP}/{VERSION}"
_UNNEEDED = re.compile(r"\d+(?:[.,]\d+)*")


# ---------------------------------------------------------------------------------------------------------------------
# CanaryRun: the beginning, and what people ask


def _place(route: Route) -> Object:
    """One object of a route: which entries, between which versions."""
    return {
        "virtualService": route.virtual_service,
        "entries": [_without_blanks(index=entry.index, name=entry.name) for entry in route.entries],
        "stable": _without_blanks(host=route.stable.host, subset=route.stable.subset),
        "canary": _without_blanks(host=route.canary.host, subset=route.canary.subset),
    }


def _route(plan: Plan, found: Object) -> Route:
    """The route that :func:`_place` wrote, with the objects that move along."""
    return Route(
        plan.namespace,
        found["virtualService"],
        plan.name,
        tuple(Entry(one["index"], one.get("name", "")) for one in found["entries"]),
        _version(found["stable"]),
        _version(found["canary"]),
        tuple(_route(plan, one) for one in found.get("also") or ()),
    )


def run_object(run: Run) -> Object:
    """The CanaryRun of a run that begins."""
    route = run.route
    return {
        "apiVersion": _API,
        "kind": "CanaryRun",
        "metadata": {
            "name": run.uid,
            "namespace": run.plan.namespace,
            "labels": {PLAN_LABEL: run.plan.name, "app.kubernetes.io/managed-by": "canaryd"},
        },
        "spec": {
            "plan": run.plan.model_dump(mode="json", by_alias=True, exclude_none=True),
            "route": _place(route) | ({"also": [_place(part) for part in route.also]} if route.also else {}),
            "created": time_text(run.created),
            "split": _percent(run.started_from),
            **_undoes(run),
            "commands": [],  # so that one patch, add to /spec/commands/-, is right for the first command and all later
        },
    }


def begun(found: Mapping[str, Any]) -> Run:
    """
    The run of a CanaryRun without a record, as it began.

    One that its status calls ended has ended. One that was made long after it began comes from a backup: it is aborted,
    for nobody knows what became of it. Raises Rejected where the object is none that canaryd wrote.
    """
    meta, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    name = f"CanaryRun {meta.get('namespace')}/{meta['name']}"
    try:
        plan = Plan.model_validate(spec["plan"])
        route = _route(plan, spec["route"])
        created, split = seconds_of(spec["created"]), Split.percent(spec["split"])
        run = Run(
            uid=meta["name"],
            plan=plan,
            route=route,
            created=created,
            kept="canaryrun",
            split=split,
            started_from=split,
            segments=(Segment(0, 0, split, created),),
            waiting="about to start",
        )
        if undoes := spec.get("undoes"):
            latch = Latch("undo", undoes["why"], created, bool(undoes.get("force")))
            run = replace(run, undoes=undoes["run"], latch=latch)
        made = seconds_of(meta["creationTimestamp"]) if meta.get("creationTimestamp") else created
        if status.get("outcome") and status.get("ended"):
            return _ended(run, Outcome(status["outcome"]), seconds_of(status["ended"]), str(status.get("why", "")))
    except (KeyError, TypeError, ValueError, ArithmeticError, ValidationError) as error:
        raise Rejected(f"{name} is not a run that this canaryd wrote: {error}") from error
    if plan.namespace != meta.get("namespace"):
        raise Rejected(f"{name} is not a run that canaryd wrote: its plan is of namespace {plan.namespace}")
    if made - created <= RESTORED_AFTER:
        return run
    why = "restored from a backup without its record: what became of the run since is not known"
    return replace(run, latch=Latch("abort", why, made), waiting=why)


def _undoes(run: Run) -> Object:
    """What a run that undoes is to know of it before it has a record; nothing for every other."""
    if not run.undoes or run.latch is None:
        return {}
    return {"undoes": {"run": run.undoes, "why": run.latch.reason, "force": run.latch.forced}}


def _ended(run: Run, outcome: Outcome, ended: float, why: str) -> Run:
    phase = Phase.PROMOTED if outcome is Outcome.PROMOTED else Phase.ROLLED_BACK
    return replace(run, phase=phase, outcome=outcome, ended=ended, reason=why, waiting="")


def same_beginning(found: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    """Whether the CanaryRun ``found`` is the one that ``body`` would have created, whatever was asked of it since."""
    here, wanted = begun({"metadata": found["metadata"], "spec": found.get("spec")}), begun(body)
    return (here.plan, here.route, here.created, here.split) == (
        wanted.plan,
        wanted.route,
        wanted.created,
        wanted.split,
    )


def commands_of(found: Mapping[str, Any]) -> tuple[Command, ...]:
    """What a CanaryRun's spec asks, in order, the abort last; one that cannot be read is left out."""
    spec = found.get("spec") or {}
    asked = [{"id": f"#{index}"} | one for index, one in enumerate(spec.get("commands") or ())]
    if spec.get("abort") is not None:
        asked.append({"id": "abort"} | spec["abort"] | {"verb": "abort"})
    return tuple(command for one in asked if (command := _command(one)))


def command_patch(found: Mapping[str, Any], command: Command) -> list[Object]:
    """
    The JSON Patch that asks ``command`` of the CanaryRun as it was read.

    The first abort has a place of its own; a second one, which may be forced, is a command. Where a list or the abort
    is created the patch holds only for the object as read.
    """
    meta, spec = found["metadata"], found.get("spec") or {}
    said = _COMMAND.dump_python(command, mode="json").items()
    asked = {key: one for key, one in said if one not in ("", None) and one is not False}
    unchanged = {"op": "test", "path": "/metadata/resourceVersion", "value": meta["resourceVersion"]}
    if command.verb == "abort" and spec.get("abort") is None:
        asked.pop("step", None)
        return [unchanged, {"op": "add", "path": "/spec/abort", "value": _without(asked, "verb")}]
    if spec.get("commands"):
        return [{"op": "add", "path": "/spec/commands/-", "value": asked}]
    return [unchanged, {"op": "add", "path": "/spec/commands", "value": [asked]}]


def _command(one: Mapping[str, Any]) -> Command | None:
    try:
        return _COMMAND.validate_python(one)
    except ValidationError:
        return None


# ---------------------------------------------------------------------------------------------------------------------
# CanaryRecord: the memory


def record_object(record: Record, owner: Mapping[str, Any], resource_version: str = "") -> Object:
    """The CanaryRecord of ``record``, which goes when the CanaryRun ``owner`` goes."""
    meta: Object = {
        "name": record.run.uid,
        "namespace": record.run.plan.namespace,
        "labels": {PLAN_LABEL: record.run.plan.name, "app.kubernetes.io/managed-by": "canaryd"},
        "ownerReferences": [
            {"apiVersion": _API, "kind": "CanaryRun", "name": record.run.uid, "uid": owner["metadata"]["uid"]}
        ],
    }
    if resource_version:
        meta["resourceVersion"] = resource_version
    return {
        "apiVersion": _API,
        "kind": "CanaryRecord",
        "metadata": meta,
        "schema": SCHEMA,
        "judge": JUDGE,
        "version": record.version,
        "data": _packed(record.run),
    }


def record_of(found: Mapping[str, Any]) -> Record:
    """
    The record in a CanaryRecord.

    Raises Rejected, in a sentence for a person, where another canaryd wrote it in a way that this one does not know, or
    where it is damaged.
    """
    meta = found["metadata"]
    name = f"CanaryRecord {meta.get('namespace')}/{meta['name']}"
    for key, known in (("schema", SCHEMA), ("judge", JUDGE)):
        if found.get(key) != known:
            raise Rejected(
                f"{name} was written with {key} {found.get(key)}, and this canaryd knows {known}: the run is left as "
                "it is; install the canaryd that wrote it, or delete the CanaryRun once its traffic is where it should "
                "be"
            )
    try:
        return Record(_unpacked(found["data"]), int(found["version"]))
    except (KeyError, TypeError, ValueError, IndexError, binascii.Error, zlib.error, ValidationError) as error:
        raise Rejected(f"{name} is not a record that this canaryd wrote: {error}") from error


def _packed(run: Run) -> str:
    thin, full = _halves(run.cells)
    grid = _Grid.of(run)
    whole = _RUN.dump_python(replace(run, cells=full), mode="json")
    for cells in (whole["cells"], (whole["past"] or {}).get("cells") or ()):
        for cell in cells:
            for name in RARE:
                if not cell.get(name):
                    cell.pop(name, None)
    content = {
        "run": whole,
        "thin": list(zip(*(_row(grid, cell) for cell in thin), strict=True)),  # by columns: these compress well
    }
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    return base64.b64encode(zlib.compress(text.encode(), 8)).decode()


def _unpacked(data: str) -> Run:
    content = json.loads(zlib.decompress(base64.b64decode(data, validate=True)))
    run = _RUN.validate_python(content["run"])
    grid = _Grid.of(run)
    return replace(run, cells=tuple(_cell(grid, row) for row in zip(*content["thin"], strict=True)) + run.cells)


def thinned(run: Run) -> Run:
    """
    The run as a record keeps it: of old cells only what happened on both sides, as counts to a hundredth.

    When cells were, whether they count for the bake, and the judge's state stay exact to the last bit. Of more than
    MOST_CELLS, as a run has that is held for days, those go first that no step's bake needs.
    """
    cells = _few(run) if len(run.cells) > MOST_CELLS else run.cells
    thick = cut = max(0, len(cells) - FULL_CELLS)
    while thick and not _is_thin(cells[thick - 1]):  # what is before a thin one was thinned with it
        thick -= 1
    if cells is run.cells and thick == cut:
        return run
    return replace(run, cells=(*cells[:thick], *map(_thin, cells[thick:cut]), *cells[cut:]))


def put_away(run: Run) -> Run:
    """
    A run that is over, as it is kept: how it went, and nothing that only a next cell would need.

    Hundreds of plans keep ten runs each, in the API server and in the memory of leader and standby.
    """
    return replace(thinned(replace(run, cells=run.cells[-KEPT_CELLS:])), judged=None, past=None)


def _few(run: Run) -> tuple[Cell | Gap, ...]:
    """The newest cells, and as many of the present bake as the step needs, in order."""
    baked = (run.baked or run.settled)[-run.needed :]
    kept = {id(cell) for cell in (*run.cells[-MOST_CELLS // 2 :], *baked)}
    return tuple(cell for cell in run.cells if id(cell) in kept)


def _halves(cells: tuple[Cell | Gap, ...]) -> tuple[tuple[Cell | Gap, ...], tuple[Cell | Gap, ...]]:
    cut = max(0, len(cells) - FULL_CELLS)
    return cells[:cut], cells[cut:]


def _is_thin(cell: Cell | Gap) -> bool:
    return isinstance(cell, Cell) and not cell.bounds_ms and cell == _thin(cell)


def _thin(cell: Cell | Gap) -> Cell | Gap:
    if isinstance(cell, Gap):
        return cell
    return replace(
        cell,
        bounds_ms=(),
        values=(),
        callers=(),
        uninjected=0.0,
        former=None,
        whole=None,
        portions=(),
        matched=False,
        stable=_thin_counts(cell.stable),
        canary=_thin_counts(cell.canary),
        unattributed=round(cell.unattributed, 2),
        others=round(cell.others, 2),
        no_cluster=round(cell.no_cluster, 2),
        injected=round(cell.injected, 2),
    )


def _thin_counts(counts: Counts) -> Counts:
    return Counts(round(counts.requests, 2), round(counts.errors, 2))


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where the cells of each segment lie, and the segment's split."""

    origins: tuple[float, ...]
    splits: tuple[Split, ...]
    seconds: float

    @classmethod
    def of(cls, run: Run) -> _Grid:
        return cls(
            tuple(segment.origin for segment in run.segments),
            tuple(segment.split for segment in run.segments),
            run.plan.spec.analysis.cell.total_seconds(),
        )

    def window(self, segment: int, number: int) -> tuple[float, float]:
        """As due_windows computes it."""
        origin = self.origins[segment]
        return origin + number * self.seconds, origin + (number + 1) * self.seconds

    def place(self, cell: Cell | Gap) -> int | list[float]:
        """The cell's number in its segment, where that gives its times again to the last bit; else its times."""
        number = round((cell.start - self.origins[cell.segment]) / self.seconds)
        return number if self.window(cell.segment, number) == (cell.start, cell.end) else [cell.start, cell.end]


def _row(grid: _Grid, cell: Cell | Gap) -> list[Any]:
    """A thin cell in few characters: its place on the grid, and its split only where it is not the segment's."""
    split = None if cell.split == grid.splits[cell.segment] else cell.split.canary
    head = [cell.segment, grid.place(cell), int(cell.settled), split]
    if isinstance(cell, Gap):
        return [*head, cell.why, *[0] * 8]
    stable, canary = cell.stable, cell.canary
    sides = (stable.requests, stable.errors, canary.requests, canary.errors)
    rest = (cell.unattributed, cell.others, cell.no_cluster, cell.injected)
    return [*head, None, *map(_short, sides + rest)]


def _cell(grid: _Grid, row: Sequence[Any]) -> Cell | Gap:
    index, place, settled, split, why, *counts = row
    start, end = place if isinstance(place, list) else grid.window(index, place)
    divided = grid.splits[index] if split is None else Split(split)
    if why is not None:
        return Gap(index, start, end, divided, bool(settled), why)
    stable, stable_errors, canary, canary_errors, unattributed, others, no_cluster, injected = map(float, counts)
    return Cell(
        index,
        start,
        end,
        divided,
        bool(settled),
        (),
        Counts(stable, stable_errors),
        Counts(canary, canary_errors),
        unattributed,
        others,
        no_cluster,
        injected,
    )


def _short(count: float) -> float:
    count = round(count, 2)
    return int(count) if count == int(count) else count


def only_evidence_differs(run: Run, former: Run) -> bool:
    """Whether nothing has happened between the two but more cells, and other figures in what is waited for."""
    return _but_for_evidence(run) == _but_for_evidence(former)


def _but_for_evidence(run: Run) -> Run:
    return replace(run, cells=(), judged=None, evidence=None, harmed=NOBODY, waiting=without_figures(run.waiting))


def without_figures(sentence: str) -> str:
    """A sentence that stays the same while only its numbers change."""
    return _UNNEEDED.sub("#", sentence)


# ---------------------------------------------------------------------------------------------------------------------
# Status: for people


@dataclass(frozen=True, slots=True)
class Traffic:
    """Whether the traffic is as decided after the run's end, and why it is said."""

    as_decided: bool
    why: str


def status_of(
    run: Run,
    decisions: Sequence[Mapping[str, Any]] = (),
    break_glass: str = "",
    *,
    plan_changed: str = "",
    traffic: Traffic | None = None,
) -> Object:
    """
    The status of the run's CanaryRun; its conditions have no times yet, which :func:`timed` gives them.

    ``plan_changed`` says in what the CanaryPlan differs from the run's copy, ``traffic`` what was seen after the end.
    """
    found = _where(run) | {
        "outcome": run.outcome.value if run.outcome else "",
        "started": time_text(run.created, fraction=False),
        "ended": time_text(run.ended, fraction=False) if run.ended is not None else "",
        "obeyed": list(run.obeyed),
        "seq": run.seq,
        "evidence": _evidence(run),
        "decisions": [dict(one) for one in decisions[-DECISIONS:]],
        "findings": [_finding(one) for one in run.findings],
        "breakGlass": break_glass,
        "schema": SCHEMA,
        "judge": JUDGE,
        "conditions": conditions_of(run, plan_changed, traffic),
    }
    return {key: one for key, one in found.items() if one not in ("", [])}


def _evidence(run: Run) -> list[str]:
    harmed = [run.harmed_so_far] if run.harmed_so_far else []
    return harmed + [reading.sentence for reading in run.evidence.readings] if run.evidence else harmed


def plan_status_of(
    run: Run, break_glass: str = "", traffic: Traffic | None = None, *, plan_changed: str = ""
) -> Object:
    """What the status of a CanaryPlan says of its run, conditions included but without times."""
    found = _where(run) | {
        "release": run.plan.spec.release,
        "run": run.uid,
        "breakGlass": break_glass,
        "conditions": conditions_of(run, plan_changed, traffic),
    }
    if run.final and run.outcome and run.ended is not None:
        found["settled"] = {
            "release": run.plan.spec.release,
            "run": run.uid,
            "outcome": run.outcome.value,
            "at": time_text(run.ended, fraction=False),
        }
    return {key: one for key, one in found.items() if one not in ("", [])}


def _where(run: Run) -> Object:
    return {
        "phase": "held" if run.hold and not run.final else run.phase.value,
        "step": f"{min(run.step + 1, len(run.plan.spec.steps))}/{len(run.plan.spec.steps)}",
        "weight": "match" if run.match else str(run.split),
        "verdict": verdict_of(run),
        "why": why_of(run),
    }


def verdict_of(run: Run) -> str:
    """PASS, FAIL or INCONCLUSIVE; empty while none is due."""
    if (run.latch and run.latch.kind == "fail") or (run.evidence and run.evidence.failure):
        return "FAIL"
    if run.unproven or (run.latch and run.latch.kind == "inconclusive"):
        return "INCONCLUSIVE"
    if run.latch:
        return ""
    if run.phase in PROVEN:
        return "PASS"
    if run.hold and run.hold.kind == "gate" and run.phase is Phase.PENDING:
        return ""  # before the start nothing was judged yet
    if run.hold:
        return {"gate": "PASS", "inconclusive": "INCONCLUSIVE", "no-data": "INCONCLUSIVE"}.get(run.hold.kind, "")
    return ""


def why_of(run: Run) -> str:
    """In one sentence: how it ended, why it goes back, or what it waits for."""
    if run.outcome is Outcome.PROMOTED and not run.unproven:
        return in_short(run.reason)
    if run.final:
        return run.reason or (run.latch.reason if run.latch else "")
    if run.latch:
        return run.latch.reason
    return run.waiting or (run.hold.why if run.hold else "")


def in_short(proof: str) -> str:
    """The first finding of a proof; the others, with their figures, are in the run's decisions."""
    return proof.partition(";")[0]


def conditions_of(run: Run, plan_changed: str = "", traffic: Traffic | None = None) -> list[Object]:
    """The run's conditions, without times."""
    why = why_of(run)
    outcome = _camel(run.outcome.value) if run.outcome else "Ended"
    if run.outcome is Outcome.PROMOTED and run.unproven:
        outcome = "PromotedUnproven"
    phase = _camel(run.phase.value)
    held = run.hold if not run.final else None
    promoted = "Unknown" if not run.final else "True" if run.outcome is Outcome.PROMOTED else "False"
    return [
        condition("Finished", run.final, outcome if run.final else phase, why),
        condition("Promoted", promoted, outcome if run.final else "NotFinished", why),
        condition("Held", held is not None, _camel(held.kind) if held else "NotHeld", held.why if held else ""),
        condition("PlanChanged", bool(plan_changed), "Edited" if plan_changed else "AsItBegan", plan_changed),
        _traffic(run, traffic),
    ]


def _traffic(run: Run, traffic: Traffic | None) -> Object:
    kind = "TrafficAsDecided"
    if traffic is not None:
        return condition(kind, traffic.as_decided, "Observed" if traffic.as_decided else "ChangedByOthers", traffic.why)
    if run.hold and run.hold.kind == "drift" and not run.final:
        return condition(kind, False, "Drifted", run.hold.why)
    if run.seq == 0:
        return condition(kind, "Unknown", "NothingShifted", "nothing has been shifted yet")
    if run.arrived_at is None:
        return condition(kind, "Unknown", "Shifting", f"{run.share} was written and not seen in the mesh yet")
    return condition(kind, True, "Observed", f"{run.share} was seen in the mesh")


def clipped(status: Mapping[str, Any]) -> Object:
    """A status that the schema takes, whatever it was told: what is too long ends in an ellipsis."""
    return {key: one if key == "breakGlass" else _clipped(one) for key, one in status.items()}


def _clipped(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= LONGEST_TEXT else value[: LONGEST_TEXT - 1] + "…"
    if isinstance(value, Mapping):
        return {key: _clipped(one) for key, one in value.items()}
    return [_clipped(one) for one in value[:MOST_ITEMS]] if isinstance(value, list) else value


def condition(kind: str, status: bool | str, reason: str, message: str = "") -> Object:
    """A condition without its times."""
    shown = str(status)
    return {"type": kind, "status": shown, "reason": reason, "message": message}


def timed(
    conditions: Iterable[Mapping[str, Any]], former: Sequence[Mapping[str, Any]], now: float, generation: int = 0
) -> list[Object]:
    """``conditions`` with their times: of now where the status has changed, as it stands in ``former`` where not."""
    known = {one.get("type"): one for one in former}
    found = []
    for one in conditions:
        before = known.get(one["type"], {})
        since = before.get("lastTransitionTime") if before.get("status") == one["status"] else None
        timed_one = dict(one) | {"lastTransitionTime": since or time_text(now, fraction=False)}
        found.append(timed_one | ({"observedGeneration": generation} if generation else {}))
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Words


def time_text(seconds: float, *, fraction: bool = True) -> str:
    """Unix seconds as RFC 3339 in UTC; Kubernetes' own times have no fraction."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S" + (".%fZ" if fraction else "Z"))


def seconds_of(text: str) -> float:
    """Unix seconds of an RFC 3339 time. Raises ValueError."""
    return datetime.fromisoformat(text).timestamp()


def _camel(words: str) -> str:
    return "".join(word.capitalize() for word in re.split(r"[ -]", words))


def _percent(split: Split) -> int | float:
    return split.canary // 1000 if split.canary % 1000 == 0 else split.canary / 1000


def _version(side: Mapping[str, str]) -> Version:
    return Version(side["host"], side.get("subset", ""))


def _finding(found: Finding) -> Object:
    return _without_blanks(**asdict(found) | {"details": list(found.details) or ""})


def _without_blanks(**fields: Any) -> Object:
    return {key: one for key, one in fields.items() if one != ""}


def _without(fields: Mapping[str, Any], key: str) -> Object:
    return {name: one for name, one in fields.items() if name != key}
