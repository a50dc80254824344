"""
What a report has to say of a run, added up anew from the lines of its journal: nothing here is the report's own code.

Where the journal has no such number (the run's beginning, the history of its splits, its plan) the saved run is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import fsum
from typing import Any

from scipy.stats import binomtest

from tests.report.real import Real

WHOLE = 100_000
QUIET = {"run.history", "run.preflight", "step.shifting"}


def expected(real: Real) -> dict[str, Any]:
    """The numbers of the JSON, in its shape."""
    run = real.raw
    cells, segments = real.cells, run["segments"]
    decisions = list(_decisions(real))
    told = {
        "version": 1,
        "began": run["created"],
        "ended": _at(real, "run.promoted", "run.rolled_back"),
        "weights": _weights(real),
        "cost": {
            "stable": _served(cells, "stable"),
            "canary": _served(cells, "canary"),
            "unattributed": fsum(cell["unattributed"] for cell in cells),
            "harmed": [entry["saw"]["harmed"] for entry in real.journal if entry["saw"]["harmed"]][-1]["requests"],
        },
        "timeline": [
            {"decision": one["number"], "at": one["at"], "after": one["at"] - run["created"], "weight": one["weight"]}
            for one in decisions
            for name, _ in one["told"]
            if name not in QUIET
        ],
        "stages": list(_stages(real)),
        "curves": {
            "begin": run["created"],
            "end": max(_at(real, "run.promoted", "run.rolled_back"), cells[-1]["end"]),
            "wanted": [{"at": one["origin"], "weight": one["split"]["canary"] / 1000} for one in segments],
            "stretches": [_stretch(cell) for cell in cells],
            "slow": [_slow(real)],
            "evidence": list(_evidence(real)),
            "proofSegments": [one["index"] for one in segments if one["split"]["canary"] < WHOLE],
            "bounds": _bounds(real),
            "histogram": _histogram(cells),
        },
        "lastEvidence": _evidence_then(*_last_compared(real)),
        "decisions": [{key: value for key, value in one.items() if key != "told"} for one in decisions],
        "plan": run["plan"],
    }
    if run["latch"]:
        told["curves"]["rollback"] = _at(real, "run.rolling_back")
        told["detection"] = _detection(real)
    return told


def numbers(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Every number in JSON, with where it stands."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from numbers(one, f"{path}.{key}")
    elif isinstance(value, list):
        for place, one in enumerate(value):
            yield from numbers(one, f"{path}[{place}]")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path.lstrip("."), value


def words(value: Any) -> Iterator[str]:
    """Every text in JSON, keys too."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from words(one)
    elif isinstance(value, list):
        for one in value:
            yield from words(one)
    elif isinstance(value, str):
        yield value


def _at(real: Real, *events: str) -> float:
    """When the first of the events was told."""
    return next(entry["at"] for entry in real.journal for name, _ in entry["events"] if name in events)


def _weights(real: Real) -> list[float]:
    arrived = {"step.shifted", "run.watching"}
    return [entry["split"] / 1000 for entry in real.journal if arrived & {name for name, _ in entry["events"]}]


def _served(cells: list[dict[str, Any]], side: str) -> dict[str, float]:
    return {key: fsum(cell[side][key] for cell in cells) for key in ("requests", "errors")}


def rate(count: float, total: float) -> dict[str, float] | None:
    if not total:
        return None
    band = binomtest(round(count), round(total)).proportion_ci(0.95, "wilson")
    return {"count": count, "total": total, "share": count / total, "low": band.low, "high": band.high}


def _stretch(cell: dict[str, Any]) -> dict[str, Any]:
    stable, canary = cell["stable"], cell["canary"]
    sent = canary["requests"] + cell["unattributed"]
    return {
        "segment": cell["segment"],
        "start": cell["start"],
        "end": cell["end"],
        "cells": 1,
        "wanted": cell["split"]["canary"] / 1000,
        "stable": rate(stable["errors"], stable["requests"]),
        "canary": rate(canary["errors"], canary["requests"]),
        "observed": rate(sent, sent + stable["requests"]),
    }


def _slow(real: Real) -> dict[str, Any]:
    """The bound is the one that the judge named in its last word on both sides."""
    evidence, _ = _last_compared(real)
    [latency] = [one for one in evidence["readings"] if one["check"] == "latency"]
    bound = float(latency["canary"].rpartition(" over ")[2].removesuffix(" ms"))
    points = []
    for cell in real.cells:
        above = cell["bounds_ms"].index(bound) + 1
        sides = {
            side: rate(fsum(cell[side]["buckets"][above:]), fsum(cell[side]["buckets"]))
            for side in ("stable", "canary")
        }
        points.append({"segment": cell["segment"], "start": cell["start"], "end": cell["end"], **sides})
    return {"boundMs": bound, "stretches": points}


def _evidence(real: Real) -> Iterator[dict[str, Any]]:
    for entry in real.journal:
        if entry["saw"]["cells"]:
            last, evidence = entry["saw"]["cells"][-1], entry["saw"]["evidence"]
            yield {
                "at": last["end"],
                "segment": last["segment"],
                "harm": evidence["harm"],
                "proof": evidence["proof"],
            }


def _bounds(real: Real) -> dict[str, float]:
    evidence, _ = _last_compared(real)
    return {
        "hold": evidence["hold_bound"],
        "harm": evidence["harm_bound"],
        "proof": evidence["proof_bound"],
        "alpha": 1 / evidence["harm_bound"],
        "beta": 1 / evidence["proof_bound"],
    }


def _histogram(cells: list[dict[str, Any]]) -> dict[str, Any]:
    compared = [cell for cell in cells if 0 < cell["split"]["canary"] < WHOLE]
    same = [cell for cell in compared if cell["segment"] == compared[-1]["segment"]]
    return {
        "weight": same[-1]["split"]["canary"] / 1000,
        "boundsMs": same[-1]["bounds_ms"],
        "stable": [fsum(column) for column in zip(*(cell["stable"]["buckets"] for cell in same), strict=True)],
        "canary": [fsum(column) for column in zip(*(cell["canary"]["buckets"] for cell in same), strict=True)],
    }


def _last_compared(real: Real) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The last evidence on both sides, and the cells of its segment."""
    shares = {cell["segment"]: cell["split"]["canary"] for cell in real.cells}
    found = [entry["saw"]["evidence"] for entry in real.journal if entry["saw"]["cells"]]
    last = [one for one in found if shares[one["segment"]] < WHOLE][-1]
    return last, [cell for cell in real.cells if cell["segment"] == last["segment"]]


def _evidence_then(evidence: dict[str, Any], cells: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "weight": cells[-1]["split"]["canary"] / 1000,
        "cells": len(cells),
        "until": cells[-1]["end"],
        "harm": evidence["harm"],
        "holdBound": evidence["hold_bound"],
        "harmBound": evidence["harm_bound"],
        "proof": evidence["proof"],
        "proofBound": evidence["proof_bound"],
        "checks": [
            {
                "stableRequests": one["stable_requests"],
                "canaryRequests": one["canary_requests"],
                "harm": one["harm"],
                "harmBound": one["harm_bound"],
                "proof": one["proof"],
                "proofBound": one["proof_bound"],
            }
            for one in evidence["readings"]
        ],
    }


def _stages(real: Real) -> Iterator[dict[str, Any]]:
    segments = real.raw["segments"]
    for place, segment in enumerate(segments):
        cells = [cell for cell in real.cells if cell["segment"] == segment["index"]]
        last = place + 1 == len(segments)
        if cells or segment["split"]["canary"] or last:
            yield {
                "start": segment["origin"],
                "end": real.raw["ended"] if last else segments[place + 1]["origin"],
                "weight": segment["split"]["canary"] / 1000,
                "cells": len(cells),
                "settled": sum(cell["settled"] for cell in cells),
                "gaps": 0,
                "stable": _served(cells, "stable"),
                "canary": _served(cells, "canary"),
            }


def _detection(real: Real) -> dict[str, float]:
    decided = _at(real, "run.rolling_back")
    return {
        "exposed": next(cell["start"] for cell in real.cells if cell["canary"]["requests"]),
        "suspected": next(
            entry["saw"]["cells"][-1]["end"]
            for entry in real.journal
            if entry["saw"]["cells"] and entry["saw"]["evidence"]["harm"] >= entry["saw"]["evidence"]["hold_bound"]
        ),
        "decided": decided,
        "back": next(
            entry["at"]
            for entry in real.journal
            if entry["at"] > decided and entry["saw"]["mesh"]["split"]["canary"] == 0
        ),
    }


def _decisions(real: Real) -> Iterator[dict[str, Any]]:
    cells: list[dict[str, Any]] = []
    former, number = 0.0, 0
    for entry in real.journal:
        cells += entry["saw"]["cells"]
        weight, evidence = entry["split"] / 1000, entry["saw"]["evidence"]
        if entry["events"]:
            number += 1
            found = {"number": number, "at": entry["at"], "former": former, "weight": weight, "told": entry["events"]}
            if evidence:
                found["evidence"] = _evidence_then(
                    evidence, [cell for cell in cells if cell["segment"] == evidence["segment"]]
                )
            yield found
        former = weight
