"""What is said of the checks' own queries before a run, at which level, and where."""

from __future__ import annotations

from math import nan
from typing import Any

import pytest

from canaryd.model.finding import Finding
from canaryd.preflight.heard import Heard, Trial
from canaryd.preflight.own_queries import CODES, check
from canaryd.preflight.survey import Survey
from tests.preflight.stage import plan

QUERY = 'sum(queue{app="${workload}"})'
ERRORS = {"name": "errors", "metric": "error-rate", "compare": "stable"}


def findings(*trials: Trial, **keys: Any) -> list[Finding]:
    """What is found of a check with these keys whose query was tried so."""
    own = {"name": "own", "metric": "promql", "query": QUERY, "compare": "stable"} | keys
    survey = Survey(plan(analysis={"checks": [ERRORS, own]}), heard=Heard(trials=trials))
    return list(check(survey))


def told(*trials: Trial, **keys: Any) -> list[tuple[str, str]]:
    return [(one.code, one.level) for one in findings(*trials, **keys)]


def of(side: str, rows: int = 1, value: float | None = 3.0, **more: Any) -> Trial:
    return Trial("own", side, rows=rows, value=value, **more)


NONE = {"rows": 0, "value": None}


@pytest.mark.parametrize(
    ("trials", "keys", "said"),
    [
        ([of("canary"), of("stable")], {}, []),
        ([of("canary", refused="HTTP 422: no")], {}, [("QueryRefused", "error")]),
        ([of("canary"), of("stable", 2, labels=("pod",))], {}, [("QueryFindsSeveral", "error")]),
        ([of("canary", **NONE), of("stable")], {}, [("CanaryHasNoValueYet", "info")]),
        ([of("canary"), of("stable", **NONE)], {}, [("QueryFindsNothing", "warning")]),
        ([of("canary", **NONE), of("stable", **NONE)], {"onEmpty": "zero"}, []),
        ([of("canary", value=nan), of("stable")], {}, [("QueryHasNoNumber", "info")]),
        ([of("stable", **NONE, unknown=(("queu", ("queue",)),))], {}, [("MetricUnknown", "error")]),
        ([of("stable", **NONE, unknown=(("queu", ()),))], {"onEmpty": "zero"}, [("MetricUnknown", "warning")]),
        (
            [of("canary", **NONE, unknown=(("queu", ()),))],
            {"compare": None, "atMost": 1},
            [("MetricUnknown", "warning")],
        ),
        ([of("stable", **NONE, unknown=(("queu", ()),))], {"reportOnly": True}, [("MetricUnknown", "info")]),
        ([of("stable", **NONE, missing=(("queue", "ap", ("app",)),))], {}, [("LabelUnknown", "warning")]),
        ([of("canary")], {"compare": None, "atMost": 1, "query": "sum(queue)"}, [("QueryNamesNoVersion", "info")]),
        ([of("canary"), of("stable")], {"query": 'queue{app="${workload}"}'}, [("QueryMayFindSeveral", "info")]),
    ],
)
def test_each_answer_has_a_code_of_its_own(
    trials: list[Trial], keys: dict[str, Any], said: list[tuple[str, str]]
) -> None:
    """What keeps a deciding check from ever having a value is an error; what decides nothing stops nothing."""
    assert told(*trials, **keys) == said


def test_the_sentence_names_the_check_and_what_to_write() -> None:
    [one] = findings(of("stable", **NONE, unknown=(("queu", ("queue", "queues")),)))
    assert one.where == "spec.analysis.checks.1.query"
    assert "own: nobody reports queu; did you mean queue or queues?" in str(one)
    [several] = findings(of("stable", 2, labels=("pod", "job")))
    assert "own: 2 values of stable, by pod, job; aggregate them" in str(several)


def test_a_missing_metric_is_said_once_though_both_sides_miss_it() -> None:
    trial = {**NONE, "unknown": (("queu", ()),)}
    assert told(of("canary", **trial), of("stable", **trial)) == [("MetricUnknown", "error")]


def test_every_code_is_of_this_subject() -> None:
    assert len({code.name for code in CODES}) == len(CODES)
