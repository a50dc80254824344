"""The queries of a plan: what is refused at the door, what is put into them, and what a saved run keeps."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from canaryd.model import expression, variables
from canaryd.model.plan import Analysis, Plan, read_plan
from canaryd.model.policy import read_policy
from canaryd.model.problem import Refused
from canaryd.model.queries import Names, known_of, of_query, questions
from canaryd.model.traffic import EVERYTHING, Split

SIDE = Names(("shop.v1",), "shop", "v1", "shop.shop.svc.cluster.local", ("5d4f",))
PAIR = Names(("shop.v1", "shop-b"), "shop", "v1", "shop.shop.svc.cluster.local", ("5d4f", "77aa"))
MINUTE = timedelta(minutes=1)


def put(query: str, side: Names = SIDE) -> str:
    return variables.filled(query, known_of(side, MINUTE))


def plan_with(**check: object) -> dict:
    queue = {"name": "queue", "metric": "promql"} | check
    return {
        "metadata": {"name": "r"},
        "spec": {
            "target": {"virtualService": "r", "host": "r", "stable": {"subset": "v1"}, "canary": {"subset": "v2"}},
            "steps": [{"weight": 5}, {"weight": 50}],
            "analysis": {"checks": [{"name": "errors", "metric": "error-rate", "compare": "stable"}, queue]},
        },
    }


def said(**check: object) -> str:
    with pytest.raises(Refused) as refused:
        read_plan(json.dumps(plan_with(**check)))
    [problem] = refused.value.problems
    return str(problem)


# What is put in


@pytest.mark.parametrize(
    ("query", "becomes"),
    [
        ('q{w="${workload}"}', 'q{w="shop.v1"}'),
        ('q{w=~"${workload}-.*"}', r'q{w=~"shop\\.v1-.*"}'),
        ("q{w=~'${workload}-.*'}", r"q{w=~'shop\\.v1-.*'}"),
        ("q{w=~`${workload}-.*`}", r"q{w=~`shop\.v1-.*`}"),
        ('q{w!~"${workload}"}', r'q{w!~"shop\\.v1"}'),
        ('rate(q{n="${namespace}",s="${subset}"}[${window}])', 'rate(q{n="shop",s="v1"}[60000ms])'),
        ('q{d="${host}"} # ${workload}, "as ever"', 'q{d="shop.shop.svc.cluster.local"} # ${workload}, "as ever"'),
        ('q{h="${podTemplateHash}",a="# ${subset}"}', 'q{h="5d4f",a="# v1"}'),
        ('label_replace(q{w="a\\"${subset}"}, "a", "$1", "b", "(.*)")', None),
    ],
)
def test_a_name_matches_itself_alone_wherever_it_is_put(query: str, becomes: str | None) -> None:
    """A dot in a workload's name is any character to a regex, and quotes come in three kinds."""
    assert put(query) == (query.replace("${subset}", "v1") if becomes is None else becomes)


def test_several_names_are_an_alternative_in_a_regex_and_a_mistake_elsewhere() -> None:
    """The alternative in a plain matcher would match nothing, and look like a canary without a queue."""
    assert put('q{w=~"${workload}-.+"}', PAIR) == r'q{w=~"(shop\\.v1|shop-b)-.+"}'
    with pytest.raises(ValueError, match="=~ takes several"):
        put('q{w="${workload}"}', PAIR)


@given(st.text("ab-.\"'\\|()[]{}$^*+?#=~ é", max_size=8), st.sampled_from(['"', "'"]), st.booleans())
@example('v"1} or vector(1)\\', '"', False)
@example("v'1} or vector(1)", "'", True)
@example("a\nb", '"', False)
def test_nothing_that_is_put_in_leaves_its_string(name: str, quote: str, regex: bool) -> None:
    """Names come from the cluster; a quote in one must not become PromQL, nor a bracket a regular expression."""
    query = f"q{{a='b',w{'=~' if regex else '='}{quote}${{workload}}{quote}}}"
    [selector] = expression.read(put(query, Names((name,)))).selectors
    [_, (_, label, value)] = selector.matchers
    assert label == "w"
    assert re.fullmatch(value, name) if regex else value == name


def test_a_backtick_in_a_name_is_said() -> None:
    """A string in backticks has no way to write one."""
    with pytest.raises(ValueError, match="cannot stand in backticks"):
        put("q{w=`${workload}`}", Names(("a`b",)))


def test_what_looks_like_a_variable_in_a_name_stays_a_name() -> None:
    """Each variable is put in once, from the plan's text."""
    assert put('q{w="${workload}"}', Names(("${namespace}",), "shop")) == 'q{w="${namespace}"}'


# What is refused


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ('sum(rate(q{w="${workload}"}[1m])', "a query in PromQL's grammar: unclosed left parenthesis at character 31"),
        ('sum(q{w="${workload}"})) + 1', "unexpected right parenthesis ')' at character 24"),
        ('foo(q{w="${workload}"})', "unknown function with name 'foo'"),
        ('q{w=~"(${workload}"}', "illegal regex"),
        ('q{w="${workload}"}[1m]', "this is a range of values"),
        ('max_over_time(q{w="${workload}"})', "expected type matrix in call to function 'max_over_time', got vector"),
        ('"${workload}"', "this is a text"),
        ("vector(1)", "a query that asks for a metric"),
        ('q{w="${workload}"} @ 1700000000', "a query of the moment"),
        ('sum(q{w="${workload}",w="a"})', 'matchers that can be met together: w is "'),
        ('sum(q{a="x",a!="x",w="${workload}"})', 'matchers that can be met together: a is "x" and is not'),
        ('sum(q{w="${worklod}"})', "did you mean ${workload}?"),
        ("sum(${workload})", "names inside quotes"),
        pytest.param("-" * 300 + "q", "a query with at most 200 operators, got 300", id="too many operators"),
        ("(" * 60 + "q" + ")" * 60, "a query with at most 50 brackets within brackets, got 60"),
        pytest.param("q" * 4001, "a query of at most 4,000 characters", id="too long"),
    ],
)
def test_what_is_wrong_with_a_query_is_said_where_the_plan_comes_in(query: str, why: str) -> None:
    """With its path, and with the place in the text that the person wrote, variables and all."""
    told = said(query=query, atMost=1)
    assert told.startswith("spec.analysis.checks.1.query: ")
    assert why in told


def test_the_place_of_a_fault_is_that_in_the_plan_s_own_text() -> None:
    """What stands for a variable is as long as its name."""
    told = said(query='sum(q{w="${workload}"}) r', atMost=1)
    assert """invalid promql query at character 25, after 'um(q{w="${workload}"}) r'""" in told


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        ('rate(q{w="${workload}"}[1m])', 0),
        ('rate(q{w="${workload}"}[${window}])', 0),
        ('max_over_time(q{w="${workload}"}[1m:15s])', 0),
        ('rate(q{w="${workload}"}[1m] offset 1h)', 0),
        ('q{w="${workload}"} / q{w="${workload}"} offset 7d', 0),
        ('sum(q{w="${workload}[5m]"}) # [5m]', 0),
        ('rate(q{w="${workload}"}[5m])', 300),
        ('max_over_time(rate(q{w="${workload}"}[1m])[1m:15s])', 120),
        ('max_over_time(max_over_time(q{w="${workload}"}[1m:15s])[1m:15s])', 120),
        ('max_over_time(q{w="${workload}"}[ 1h:1m ])', 3600),
        ('q{w="${workload}"} - q{w="${workload}"} offset 5m', 300),
        ('avg(q{w="${workload}"}) - max(avg_over_time(r[2m]))', 120),
    ],
)
def test_values_that_overlap_are_refused_by_what_the_query_spans(query: str, seconds: int) -> None:
    """A range in a string is none, a range in a subquery is longer than it looks, and so is a difference by hand."""
    if not seconds:
        assert read_plan(json.dumps(plan_with(query=query, atMost=1)))
        return
    assert "ranges no longer than the check's window (1m), got " in said(query=query, atMost=1)
    assert read_plan(json.dumps(plan_with(query=query, atMost=1, window=f"{seconds}s")))


@pytest.mark.parametrize(
    "query", ["sum(q)", 'sum(q{n="${namespace}"})', 'sum(q{h="${host}"})', 'sum(q{n="x"}) # ${workload}']
)
def test_a_comparison_asks_two_questions(query: str) -> None:
    """Both sides would have the same value for ever, and nothing could ever be found."""
    assert "${workload}, or another variable by which the sides differ" in said(query=query, compare="stable")
    assert read_plan(json.dumps(plan_with(query=query, compare="stable", stableQuery="sum(r)")))
    assert read_plan(json.dumps(plan_with(query=query, atMost=1)))


@pytest.mark.parametrize("name", ["workload", "subset", "podTemplateHash"])
def test_the_sides_differ_by_any_of_their_names(name: str) -> None:
    assert read_plan(json.dumps(plan_with(query=f'sum(q{{x="${{{name}}}"}})', compare="stable")))


@pytest.mark.parametrize("stable", [{"host": "shop-old"}, None])
def test_two_hosts_differ_by_their_hosts_and_have_no_subset(stable: dict | None) -> None:
    """A version may be a Service of its own; whoever is stable is another one then."""
    content = plan_with(query='sum(q{h="${host}"})', compare="stable")
    target = {"virtualService": "shop", "host": "shop", "canary": {"host": "shop-new"}}
    content["spec"]["target"] = target | ({"stable": stable} if stable else {})
    assert read_plan(json.dumps(content))
    content["spec"]["analysis"]["checks"][1]["query"] = 'sum(q{s="${subset}"})'
    with pytest.raises(Refused, match="variables that the plan's target has; the side has no subset"):
        read_plan(json.dumps(content))


def test_a_query_that_grows_too_long_with_its_names_is_said() -> None:
    """It is read once more with them put in, for that is what is asked."""
    content = plan_with(query=f'sum(q{{a="{"x" * 3950}",h="${{host}}"}})', atMost=1)
    content["spec"]["target"]["host"] = "h" * 200
    with pytest.raises(Refused, match="with its variables put in: a query of at most 4,000 characters"):
        read_plan(json.dumps(content))


def test_a_policy_s_query_is_read_too() -> None:
    """Where the policy comes in, and not only where a plan is laid over it."""
    checks = [{"name": "q", "metric": "promql", "query": "sum(q", "atMost": 1}]
    content = {
        "apiVersion": "canaryd.io/v1alpha1",
        "kind": "CanaryPolicy",
        "metadata": {"name": "p"},
        "spec": {"analysis": {"checks": checks}},
    }
    with pytest.raises(Refused, match="unclosed left parenthesis"):
        read_policy(json.dumps(content), "p.yaml")


def test_a_query_is_looked_at_also_where_something_else_is_wrong() -> None:
    """Everything that is wrong is said at once."""
    content = plan_with(query="sum(q", atMost=1)
    content["spec"]["watch"] = "soon"
    with pytest.raises(Refused) as refused:
        read_plan(json.dumps(content))
    assert [one.path for one in refused.value.problems] == ["spec.watch", "spec.analysis.checks.1.query"]


def test_a_saved_run_keeps_its_plan_whatever_is_thought_of_its_queries() -> None:
    """A later parser, or a machine without one, must not lose a run that has the canary at 25 %."""
    content = plan_with(query="sum(q", atMost=1)
    content["spec"]["analysis"]["checks"][1]["query"] = "max by (x) (some[5m] new_word 7"
    assert Plan.model_validate(content).spec.analysis.checks[1].query


def test_without_a_parser_a_query_is_refused_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a platform without a wheel canaryd works, but for plans with queries."""
    monkeypatch.setattr(expression, "library", None)
    problem = of_query("here", "sum(q)")
    assert problem is not None
    assert "promql-parser is not installed" in str(problem)
    content = plan_with()
    content["spec"]["analysis"]["checks"].pop()
    assert read_plan(json.dumps(content))


# What is asked


def test_each_side_is_asked_under_its_own_names_and_those_that_decide_first() -> None:
    """What is for the report only must not eat up the time of what decides."""
    analysis = Analysis.model_validate(
        {
            "checks": [
                {"name": "a", "metric": "promql", "query": "max(x)", "atMost": 1, "reportOnly": True},
                {"name": "b", "metric": "promql", "query": 'q{s="${subset}"}', "compare": "stable", "onEmpty": "zero"},
                {"name": "c", "metric": "promql", "query": "y", "stableQuery": "z", "compare": "stable"},
                {"name": "d", "metric": "promql", "query": "y", "atMost": 1, "weights": {"from": 5, "to": 25}},
                {"name": "e", "metric": "promql", "query": 'q{s="${subset}"}', "atMost": 1, "weights": {"from": 5}},
            ]
        }
    )
    b, c, d, e, a = questions(analysis, Names(("s",), "n", "v1"), Names(("c",), "n", "v2"))
    assert (a.check, a.canary, a.stable) == ("a", "max(x)", None)
    assert (b.canary, b.stable, b.zero) == ('q{s="v2"}', 'q{s="v1"}', True)
    assert (c.canary, c.stable) == ("y", "z")
    assert [d.asked_at(Split.percent(at)) for at in (1, 5, 25, 26)] == [False, True, True, False]
    assert e.asked_at(EVERYTHING)
    [unknown] = [one for one in questions(analysis, Names(("s",)), Names(("c",))) if one.check == "e"]
    assert (unknown.canary, unknown.why) == ("", "the side has no subset")
