"""Which requests a plan counts, how that is written, and what is refused."""

from __future__ import annotations

import pytest

from canaryd.model.check import Check
from canaryd.model.plan import Analysis, Plan, read_plan
from canaryd.model.problem import Refused
from canaryd.model.where import Where, both, words
from tests.model.test_failures import PLAN, analysis


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", ()),
        ("where: {request_operation: /pay}", (("request_operation", ("/pay",)),)),
        ("where: {tenant: [b, a, b], path: /x}", (("path", ("/x",)), ("tenant", ("b", "a")))),
    ],
)
def test_requests_are_chosen_by_labels(text: str, where: Where) -> None:
    """One value, or any of several."""
    assert analysis(text).where == where


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("where: {response_code: '200'}", "this one tells apart what is compared"),
        ("where: {destination_workload: a}", "this one tells apart what is compared"),
        ("where: {reporter: source}", "this one tells apart what is compared"),
        ("where: {'a-b': x}", "a label of Prometheus"),
        ("where: {tenant: 7}", "numbers in quotes"),
        ("where: {tenant: []}", "a text that is not empty"),
        ("where: {tenant: ''}", "a text that is not empty"),
        ("where: [tenant]", "a mapping from labels to values"),
    ],
)
def test_what_cannot_choose_requests_is_refused(text: str, said: str) -> None:
    """Only failures, or only one side: the share of failures among them would say nothing."""
    with pytest.raises(Refused, match=said):
        analysis(text)


def test_a_saved_plan_is_read_again_as_it_is() -> None:
    """In YAML and JSON it is written as a person would."""
    check = "checks: [{name: pay, metric: error-rate, compare: stable, where: {path: [/pay, /refund]}}]"
    plan = read_plan(
        PLAN.format(analysis="where: {tenant: a}, " + check).replace("steps", "acceptUnproven: x\n  steps")
    )
    content = plan.model_dump(mode="json", by_alias=True)
    assert content["spec"]["analysis"]["where"] == {"tenant": "a"}
    assert content["spec"]["analysis"]["checks"][0]["where"] == {"path": ["/pay", "/refund"]}
    assert Plan.model_validate(content) == plan
    assert Plan.model_validate_json(plan.model_dump_json(by_alias=True)).digest == plan.digest


def test_a_check_counts_for_itself_within_what_the_plan_counts() -> None:
    """Its own requests and its own failures, each only where it says so."""
    usual = Check(name="errors", metric="error-rate", compare="stable")
    pay = usual.model_copy(update={"name": "pay", "where": (("path", ("/pay",)),)})
    asked = usual.model_copy(update={"name": "asked", "http_failures": ("4xx", "not 0")})
    plan = Analysis(where=(("tenant", ("a",)),), http_failures=("5xx", "429"), checks=(usual, pay, asked))
    first, second = plan.sought(("h",), "ns", ("s",), ("c",), asker="ns", called="h").apart
    assert (first.check, first.where) == ("pay", (("path", ("/pay",)), ("tenant", ("a",))))
    assert first.failures == plan.failures
    assert (second.check, second.where, second.failures.http) == ("asked", plan.where, ("4xx", "not 0"))


@pytest.mark.parametrize("key", ["where: {path: /pay}", "httpFailures: [4xx]"])
def test_only_errors_are_counted_apart(key: str) -> None:
    """Latency of a part is compared by the shape of the part's own histogram, which nobody keeps."""
    check = f"checks: [{{name: one, metric: latency, compare: stable, {key}}}]"
    with pytest.raises(Refused, match="it belongs to error-rate"):
        analysis(check)


def test_what_is_counted_apart_is_proven_only_where_the_plan_says_how_far() -> None:
    """A rare route would keep each release from its proof."""
    pay = Check(name="pay", metric="error-rate", compare="stable", where={"path": "/pay"})  # type: ignore[arg-type]
    assert not pay.proves
    assert Check.model_validate(pay.model_dump() | {"margin": {"times": 2, "plus": 0.01}}).proves


def test_words() -> None:
    """As a reading names it."""
    assert words(both((("tenant", ("a",)),), (("path", ("/pay", "/refund")),))) == "path=/pay or /refund, tenant=a"
    assert both((("tenant", ("a",)),), (("tenant", ("b",)),)) == (("tenant", ("b",)),)
