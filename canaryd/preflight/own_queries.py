"""Whether the checks' own queries say anything, tried against the series of now."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from canaryd.judge import wording
from canaryd.model import expression, variables
from canaryd.model.check import Check
from canaryd.model.expression import Fault
from canaryd.model.finding import Code, Finding, Level
from canaryd.model.variables import WINDOW
from canaryd.preflight.heard import Trial
from canaryd.preflight.survey import Survey

TITLE = "Whether the checks' own queries say anything"

QUERY_REFUSED = Code(
    "QueryRefused",
    "error",
    "Prometheus refuses a check's query, or it cannot be asked of a side: the check would never have a value, and no "
    "step in which it is asked would pass.",
    "Correct the query; Prometheus's own words are in the finding.",
)
METRIC_UNKNOWN = Code(
    "MetricUnknown",
    "error",
    "A check's query asks for a metric that nobody has reported in the last hour. It is an error where the check "
    "compares with stable, for stable has none either; with an objective or `onEmpty: zero` it may be new: a warning.",
    "Correct its name (the finding has those that are like it), or see that Prometheus scrapes what reports it.",
    transient=True,
)
LABEL_UNKNOWN = Code(
    "LabelUnknown",
    "warning",
    "A check's query asks for a label that no series of its metric has, so that it finds nothing.",
    "Correct the label's name; the finding has those that are like it.",
)
FINDS_SEVERAL = Code(
    "QueryFindsSeveral",
    "error",
    "A check's query finds several values, and canaryd takes none of them: the check would never have a value.",
    "Aggregate them in the query: `sum(...)`, `max(...)`, without `by`.",
)
MAY_FIND_SEVERAL = Code(
    "QueryMayFindSeveral",
    "info",
    "A check's query finds one value now, and by its form could find several: with another pod or another status code "
    "the check would have none.",
    "Aggregate it: `sum(...)`, `max(...)`, without `by`.",
)
FINDS_NOTHING = Code(
    "QueryFindsNothing",
    "warning",
    "A check's query finds nothing for stable, which has traffic: a step in which it is asked would not pass.",
    "Try the query in Prometheus; for a counter that does not exist before the first error, `onEmpty: zero`.",
    transient=True,
)
CANARY_HAS_NONE = Code(
    "CanaryHasNoValueYet",
    "info",
    "A check's query finds nothing for the canary, which has no traffic yet.",
    "Nothing, if the canary reports the metric once it has traffic.",
    transient=True,
)
NO_NUMBER = Code(
    "QueryHasNoNumber",
    "info",
    "A check's query has the value NaN or Inf now: it divides by 0, as a ratio without requests does.",
    "Nothing where there is no traffic now; else see what it divides by.",
    transient=True,
)
NAMES_NO_VERSION = Code(
    "QueryNamesNoVersion",
    "info",
    "An objective's query names nothing by which versions are told (`${workload}`, `${subset}` and the like): its "
    "value is the whole service's, or somebody else's, whatever the canary does.",
    "Nothing, if that is meant.",
)

CODES = (
    QUERY_REFUSED,
    METRIC_UNKNOWN,
    LABEL_UNKNOWN,
    FINDS_SEVERAL,
    MAY_FIND_SEVERAL,
    FINDS_NOTHING,
    CANARY_HAS_NONE,
    NO_NUMBER,
    NAMES_NO_VERSION,
)
OF_VERSIONS = ("workload", "subset", "podTemplateHash", "host")


def check(survey: Survey) -> Iterator[Finding]:
    """What each query finds, and what may become of it."""
    for place, one in enumerate(survey.plan.spec.analysis.checks):
        if one.query is None:
            continue
        where = f"spec.analysis.checks.{place}.query"
        found = {trial.side: trial for trial in survey.heard.trials if trial.check == one.name}
        said = [*_tried(one, found), *_by_its_form(one, found)]
        for code, sentence, level in said:
            # What decides nothing stops nothing, and is said all the same.
            yield code.at(where, f"{one.name}: {sentence}", level="info" if one.report_only else level)


def _tried(one: Check, found: dict[str, Trial]) -> Iterator[tuple[Code, str, Level]]:
    unknown: dict[str, tuple[str, ...]] = {}
    for side, trial in found.items():
        if trial.refused:
            yield QUERY_REFUSED, f"{side}: {trial.refused}", "error"
        elif trial.rows > 1:
            by = f", by {', '.join(trial.labels)}" if trial.labels else ""
            yield FINDS_SEVERAL, f"{trial.rows} values of {side}{by}; aggregate them", "error"
        elif trial.value is not None and not isfinite(trial.value):
            yield NO_NUMBER, f"{wording.value(trial.value)} of {side}", "info"
        unknown |= dict(trial.unknown)
    for metric, near in unknown.items():
        like = f"; did you mean {' or '.join(near)}?" if near else ""
        needed = one.compare is not None and one.on_empty != "zero"
        yield METRIC_UNKNOWN, f"nobody reports {metric}{like}", "error" if needed else "warning"
    missing = {(metric, label): near for trial in found.values() for metric, label, near in trial.missing}
    for (metric, label), near in missing.items():
        like = f"; did you mean {' or '.join(near)}?" if near else ""
        yield LABEL_UNKNOWN, f"no series of {metric} has the label {label}{like}", "warning"
    if unknown or missing:
        return
    stable, canary = found.get("stable"), found.get("canary")
    if stable and not stable.rows and not stable.refused and one.on_empty != "zero":
        yield FINDS_NOTHING, "nothing of stable now, though its metrics and labels exist", "warning"
    if canary and not canary.rows and not canary.refused and one.on_empty != "zero":
        beside = f"; stable has {wording.value(stable.value)}" if stable and stable.value is not None else ""
        yield CANARY_HAS_NONE, f"nothing of the canary yet{beside}", "info"


def _by_its_form(one: Check, found: dict[str, Trial]) -> Iterator[tuple[Code, str, Level]]:
    """What the query's own text tells, where the trial has not told it already."""
    query = one.query or ""
    try:
        several = expression.read(variables.measured(query)).several
    except Fault:
        return
    if several and not any(trial.rows > 1 for trial in found.values()):
        yield MAY_FIND_SEVERAL, "it may find several values, and then has none", "info"
    named = {place.name for place in variables.places(query)} - {WINDOW}
    if one.compare is None and not named & set(OF_VERSIONS):
        yield NAMES_NO_VERSION, "it names nothing by which versions are told", "info"
