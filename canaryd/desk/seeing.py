"""PURE: what is seen of a run, from the run itself or from its CanaryRun's status; the words are the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from canaryd.desk.data import percent
from canaryd.desk.port import Decided, Entry, SeenPlan, SeenRun
from canaryd.model.askers import Askers, names
from canaryd.model.run import Run
from canaryd.model.traffic import Split
from canaryd.store.objects import seconds_of

Object = Mapping[str, Any]


def seen_run(run: Run, status: Object, *, attended: bool | None = None, decisions: tuple[Decided, ...] = ()) -> SeenRun:
    """A run that is known whole, with the status that says where it stands."""
    return SeenRun(
        namespace=run.plan.namespace,
        name=run.uid,
        plan=run.plan.name,
        release=run.plan.spec.release,
        step=min(run.step, len(run.plan.spec.steps) - 1),
        steps=len(run.plan.spec.steps),
        began=run.created,
        ended=run.ended,
        attended=attended,
        decisions=decisions,
        undoes=run.undoes,
        **_standing(status),
    )


def seen_object(found: Object) -> SeenRun:
    """A CanaryRun. One that no canaryd wrote, or an other than this, is seen with the reason why it cannot be read."""
    meta, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    namespace, name = str(meta.get("namespace") or "default"), str(meta["name"])
    try:
        plan = spec["plan"]
        steps = len(plan["spec"]["steps"])
        return SeenRun(
            namespace=namespace,
            name=name,
            plan=str(plan["metadata"]["name"]),
            release=str(plan["spec"].get("release") or ""),
            step=_step(str(status.get("step", ""))),
            steps=steps,
            began=seconds_of(str(spec["created"])),
            ended=seconds_of(str(status["ended"])) if status.get("ended") else None,
            decisions=_decisions(status),
            undoes=str((spec.get("undoes") or {}).get("run") or ""),
            **_standing(status or {"phase": "pending", "why": "about to start"}),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        unread = f"CanaryRun {namespace}/{name} is not a run that this canaryd wrote: {type(error).__name__} {error}"
        return SeenRun(namespace, name, "", "", "", 0, 0, "", "", unread, 0.0, unread=unread)


def seen_plan(found: Object, keepers: tuple[str, ...] = ()) -> SeenPlan:
    """A CanaryPlan."""
    meta, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    return SeenPlan(
        str(meta.get("namespace") or "default"),
        str(meta["name"]),
        str(spec.get("release") or ""),
        run=str(status.get("run") or ""),
        since=_finished_since(status),
        keepers=keepers,
        **where_it_stands(status),
    )


def _finished_since(status: Object) -> float | None:
    """Since when the run goes on, or has ended."""
    try:
        return seconds_of(str(_condition(status, "Finished")["lastTransitionTime"]))
    except (KeyError, ValueError):
        return None


def where_it_stands(status: Object) -> dict[str, Any]:
    """What the status of a plan says of its release."""
    said = {key: str(status.get(key) or "") for key in ("phase", "step", "weight", "verdict", "why")}
    return said | {"astray": _astray(status)}


def _astray(status: Object) -> str:
    """What the traffic is, where it is known not to be what was decided."""
    found = _condition(status, "TrafficAsDecided")
    return str(found.get("message") or "") if found.get("status") == "False" else ""


def _condition(status: Object, kind: str) -> Object:
    conditions: Iterable[Object] = status.get("conditions") or ()
    return next((one for one in conditions if one.get("type") == kind), {})


def decided_in(journal: Iterable[Entry]) -> tuple[Decided, ...]:
    """The decisions in a journal."""
    return tuple(_decided_in(journal))


def _decided_in(journal: Iterable[Entry]) -> Iterator[Decided]:
    askers = Askers()
    for entry in journal:
        told = entry.get("events") or ()
        _, asked = askers.of((entry.get("saw") or {}).get("commands") or (), told)
        by = names(asked) or entry.get("by") or ""
        for event, reason in told:
            yield Decided(
                float(entry.get("at") or 0.0),
                str(event),
                str(entry.get("phase", "")),
                str(Split(entry["split"])) if isinstance(entry.get("split"), int) else "",
                str(reason),
                str(by),
            )


def as_journal(decisions: Iterable[Decided]) -> tuple[Entry, ...]:
    """
    Decisions as entries of a journal, for readers of one: those of a tick are one entry.

    What was observed beside them is not in it.
    """
    ticks = groupby(decisions, key=lambda one: (one.at, one.phase, one.weight))
    return tuple(_entry(tuple(told)) for _, told in ticks)


def _entry(told: tuple[Decided, ...]) -> Entry:
    one = told[0]
    entry = {"at": one.at, "phase": one.phase, "by": one.by, "events": [[each.event, each.reason] for each in told]}
    share = percent(one.weight)
    return entry | ({} if share is None else {"split": Split.percent(share).canary})


def _standing(status: Object) -> dict[str, Any]:
    said = {key: str(status.get(key) or "") for key in ("phase", "weight", "verdict", "why", "outcome")}
    return said | {
        "obeyed": tuple(map(str, status.get("obeyed") or ())),
        "evidence": tuple(map(str, status.get("evidence") or ())),
        "astray": _astray(status),
        "break_glass": str(status.get("breakGlass") or ""),
    }


def _step(text: str) -> int:
    """The step of ``2/4``, from 0."""
    number = text.partition("/")[0]
    return max(0, int(number) - 1) if number.isdigit() else 0


def _decisions(status: Object) -> tuple[Decided, ...]:
    return tuple(
        Decided(
            seconds_of(str(one["at"])) if one.get("at") else 0.0,
            *(str(one.get(key) or "") for key in ("event", "phase", "weight", "reason", "by")),
        )
        for one in status.get("decisions") or ()
    )
