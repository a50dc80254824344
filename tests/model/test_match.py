"""Who is matched: what a plan may say, and the canonical text that runs and mesh compare."""

from __future__ import annotations

import re

import pytest

from canaryd.model.match import Cookie, Match, StringMatch, audience_of, headers_of, spoken
from canaryd.model.plan import Plan, read_plan
from canaryd.model.problem import Refused
from tests.stage import plan

TEXT = """
metadata: {{name: reviews}}
spec:
  target: {{virtualService: reviews, host: reviews, canary: {{subset: v3}}}}
  steps: [{step}, {{weight: 50}}]
"""


def read(step: str) -> Plan:
    return read_plan("apiVersion: canaryd.io/v1alpha1\nkind: CanaryPlan" + TEXT.format(step=step))


@pytest.mark.parametrize(
    ("step", "path", "words"),
    [
        ("{weight: 0}", "spec.steps.0.weight", "between 0 and 100, both excluded"),
        ("{bake: 1m}", "spec.steps.0.weight", "between 0 and 100, both excluded"),
        ("{match: []}", "spec.steps.0.weight", "between 0 and 100, both excluded"),
        ("{match: [{}]}", "spec.steps.0.match.0", "headers, or a cookie"),
        ("{match: [{headers: {End-User: {exact: a}}}]}", "spec.steps.0.match.0.headers.End-User.[key]", "lower case"),
        ("{match: [{headers: {a: {exact: x, prefix: y}}}]}", "spec.steps.0.match.0.headers.a", "exactly one"),
        ("{match: [{headers: {a: {}}}]}", "spec.steps.0.match.0.headers.a", "exactly one"),
        ("{match: [{cookie: {name: a b, value: x}}]}", "spec.steps.0.match.0.cookie.name", ""),
        ("{match: [{cookie: {name: a, value: x;y}}]}", "spec.steps.0.match.0.cookie.value", ""),
        (
            "{match: [{headers: {cookie: {exact: a}}, cookie: {name: a, value: x}}]}",
            "spec.steps.0.match.0.cookie",
            "one of a cookie and a header",
        ),
        ("{match: [{headers: {a: {exact: x}}}], until: evidence}", "spec.steps.0.until", "prove nothing"),
        ("{weight: 5, match: [{headers: {a: {exact: x}}}]}", "spec.steps.0.match", "other people than stable"),
        ("{match: [{headers: {a: {exakt: x}}}]}", "spec.steps.0.match.0.headers.a.exakt", "a key that canaryd knows"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_path(step: str, path: str, words: str) -> None:
    with pytest.raises(Refused) as refused:
        read(step)
    found = {problem.path: str(problem) for problem in refused.value.problems}
    assert words in found.get(path, f"not among {sorted(found)}")


def test_a_match_comes_before_the_weights() -> None:
    with pytest.raises(Refused, match="weights that rise"):
        read("{weight: 5}, {match: [{headers: {a: {exact: x}}}]}")
    assert [step.share for step in read("{match: [{headers: {a: {exact: x}}}]}, {weight: 5}").spec.steps] == [
        "match",
        "5 %",
        "50 %",
    ]
    two = "{match: [{headers: {a: {exact: x}}}]}, {match: [{headers: {a: {prefix: x}}}]}"
    assert [step.share for step in read(two).spec.steps] == ["match", "match", "50 %"]


def test_a_weight_beside_a_match_needs_a_plan_that_compares_nothing() -> None:
    found = Plan.model_validate(
        plan(50).model_dump(by_alias=True, mode="json")
        | {
            "spec": plan(50).model_dump(by_alias=True, mode="json")["spec"]
            | {
                "steps": [{"weight": 5, "match": [{"headers": {"a": {"exact": "x"}}}]}],
                "analysis": {"checks": [{"name": "slo", "metric": "error-rate", "atMost": "1%"}]},
                "acceptUnproven": "nothing is compared",
            }
        }
    )
    assert found.spec.steps[0].share == "5 % and match"


def test_a_plan_with_a_match_comes_back_as_it_was_written() -> None:
    """A run keeps its plan as JSON."""
    found = plan(match_first=True)
    assert Plan.model_validate(found.model_dump(by_alias=True, mode="json")) == found


@pytest.mark.parametrize(
    ("cookies", "taken"),
    [
        ("be.ta=y", True),
        ("a=1; be.ta=y", True),
        ("be.ta=y; a=1", True),
        ("a=1; be.ta=y; c=2", True),
        ("bexta=y", False),
        ("xbe.ta=y", False),
        ("be.ta=yes", False),
        ("a=be.ta=y", False),
    ],
)
def test_a_cookie_is_found_among_others_and_never_half(cookies: str, taken: bool) -> None:
    pattern = Match(cookie=Cookie(name="be.ta", value="y")).istio["cookie"]["regex"]
    assert bool(re.fullmatch(pattern, cookies)) is taken


def test_equal_audiences_are_equal_texts() -> None:
    one = Match(headers={"a": StringMatch(exact="x"), "b": StringMatch(prefix="y")})
    other = Match(headers={"b": StringMatch(prefix="y"), "a": StringMatch(exact="x")})
    assert audience_of((one,)) == audience_of((other,))
    assert headers_of(audience_of((one,))) == [{"a": {"exact": "x"}, "b": {"prefix": "y"}}]
    assert (audience_of(()), headers_of("")) == ("", [])
    for wrong in ("{}", "[1]", "nonsense", "[{}]"):
        with pytest.raises(ValueError, match=r"audience|Expecting"):
            headers_of(wrong)


def test_an_audience_in_words() -> None:
    matches = (
        Match(headers={"end-user": StringMatch(exact="jason"), "x-team": StringMatch(prefix="a")}),
        Match(cookie=Cookie(name="be-ta", value="y.s")),
    )
    words = "matched requests (end-user: jason and x-team: a…, or cookie be-ta=y.s)"
    assert spoken(audience_of(matches)) == words
    assert len(spoken(audience_of((Match(headers={"a": StringMatch(regex="x" * 300)}),)))) < 110
