"""
What is sent to a receiver: a CloudEvent 1.0 in structured mode.

The same question is the same event, with the same id and time, however often it is asked and by whichever process; so a
receiver that has opened a ticket for it finds the ticket again. Source: CloudEvents 1.0.2, "id": duplicates share it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from canaryd.model.asking import Condition, Term
from canaryd.model.run import Phase, Run

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
ASKED, ENDED = "io.canaryd.gate.asked", "io.canaryd.run.ended"


def question(run: Run, term: Term, condition: Condition) -> dict[str, Any]:
    """May it go on? With what has been measured, and until when the answer is waited for."""
    rest = {
        "gate": "start" if run.phase is Phase.PENDING else f"step {run.step + 1} of {len(run.plan.spec.steps)}",
        "asks": f"may {run.route.canary} go from {run.share} to {_next(run, term)} of the traffic?",
        "from": run.share,
        "to": term.before if run.phase is not Phase.PENDING else run.current_step.share,
        "until": time_text(condition.since + term.limit.total_seconds()),
        "otherwise": term.otherwise,
        "evidence": [reading.sentence for reading in run.evidence.readings] if run.evidence else [],
    }
    return event_of(run, term.id, ASKED, condition.first, rest)


def ending(run: Run, name: str) -> dict[str, Any]:
    """How the run has ended."""
    rest = {"outcome": run.outcome.value if run.outcome else "", "reason": run.reason, "weight": str(run.split)}
    return event_of(run, end_id(run, name), ENDED, run.ended or run.created, rest)


def end_id(run: Run, name: str) -> str:
    return f"{run.uid}_{run.restarts}_end_{name}"


def body_of(event: dict[str, Any]) -> bytes:
    """The bytes that are sent and signed."""
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def event_of(run: Run, identity: str, kind: str, at: float, rest: dict[str, Any]) -> dict[str, Any]:
    """The event ``identity`` about ``run``, of type ``kind``, that came to be ``at`` a time (Unix seconds)."""
    return {
        "specversion": "1.0",
        "id": identity,
        "source": f"/canaryd/{run.plan.namespace}/{run.plan.name}",
        "type": kind,
        "subject": run.uid,
        "time": time_text(at),
        "datacontenttype": "application/json",
        "data": {
            "plan": str(run.plan),
            "run": run.uid,
            "release": run.plan.spec.release,
            "virtualService": f"{run.route.namespace}/{run.route.virtual_service}",
            "stable": str(run.route.stable),
            "canary": str(run.route.canary),
            "harmed": round(run.harmed.requests),
            **rest,
        },
    }


def _next(run: Run, term: Term) -> str:
    return run.current_step.share if run.phase is Phase.PENDING else term.before


def time_text(at: float) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
