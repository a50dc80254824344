"""What a plan may call a failure, how it is written, and what is said of it."""

from __future__ import annotations

import pytest

from canaryd.model.failures import Failures
from canaryd.model.plan import Analysis, Plan, read_plan
from canaryd.model.problem import Refused
from tests.stage import plan as a_plan

PLAN = """
apiVersion: canaryd.io/v1alpha1
kind: CanaryPlan
metadata: {{name: api}}
spec:
  target: {{virtualService: api, host: api, canary: {{subset: v2}}}}
  steps: [{{weight: 50}}]
  analysis: {{{analysis}}}
"""


def analysis(text: str) -> Analysis:
    return read_plan(PLAN.format(analysis=text)).spec.analysis


@pytest.mark.parametrize(
    ("text", "http"),
    [
        ("", ("5xx",)),
        ("httpFailures: [5xx, 4xx]", ("4xx", "5xx")),
        ("httpFailures: [429, 5xx, '404', 429]", ("5xx", "404", "429")),
        ("httpFailures: [5xx, not 501, not 0]", ("5xx", "not 0", "not 501")),
    ],
)
def test_http_failures_are_classes_and_codes(text: str, http: tuple[str, ...]) -> None:
    """However they are ordered, and however a code is written: the same plan has the same digest."""
    assert analysis(text).http_failures == http


@pytest.mark.parametrize(
    ("text", "grpc"),
    [
        ("", (2, 4, 12, 13, 14, 15)),
        ("grpcFailures: [14, 2]", (2, 14)),
        ("grpcFailures: [UNAVAILABLE, 'INTERNAL']", (13, 14)),
        ("grpcFailures: [server, RESOURCE_EXHAUSTED]", (2, 4, 8, 12, 13, 14, 15)),
        ("grpcFailures: [server, not UNIMPLEMENTED]", (2, 4, 13, 14, 15)),
        ("grpcFailures: [any, not 1, not NOT_FOUND]", (2, 3, 4, *range(6, 17))),
        ("grpcFailures: []", ()),
    ],
)
def test_grpc_failures_are_numbers_and_names(text: str, grpc: tuple[int, ...]) -> None:
    """Whoever writes UNAVAILABLE has not looked up that it is 14."""
    assert analysis(text).grpc_failures == grpc


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        ("httpFailures: [5xx, 302]", "spec.analysis.httpFailures.1", "got 302"),
        ("httpFailures: [5XX]", "spec.analysis.httpFailures.0", "4xx, 5xx, a code from 400 to 599"),
        ("httpFailures: [not 5xx]", "spec.analysis.httpFailures.0", "`not CODE`"),
        ("httpFailures: 4xx", "spec.analysis.httpFailures", "a list"),
        ("httpFailures: [404, not 404]", "spec.analysis.httpFailures", "either as a failure or as none"),
        ("httpFailures: [true]", "spec.analysis.httpFailures.0", "got True"),
        ("grpcFailures: [unavailable]", "spec.analysis.grpcFailures.0", "its name such as UNAVAILABLE"),
        ("grpcFailures: [0]", "spec.analysis.grpcFailures.0", "from 1 to 16"),
        ("grpcFailures: [17]", "spec.analysis.grpcFailures.0", "got 17"),
        ("grpcFailures: [[14]]", "spec.analysis.grpcFailures.0", "got [14]"),
    ],
)
def test_what_cannot_be_a_failure_is_refused(text: str, path: str, said: str) -> None:
    """With the place in the list, and what had been expected there."""
    with pytest.raises(Refused) as refused:
        analysis(text)
    [problem] = refused.value.problems
    assert (problem.path, said in str(problem)) == (path, True), problem


@pytest.mark.parametrize(
    ("code", "http", "failed"),
    [
        ("503", ("5xx",), True),
        ("404", ("5xx",), False),
        ("404", ("5xx", "404"), True),
        ("405", ("5xx", "404"), False),
        ("405", ("4xx",), True),
        ("503", ("4xx",), False),
        ("501", ("5xx", "not 501"), False),
        ("0", ("4xx",), True),
        ("0", ("4xx", "not 0"), False),
        ("", ("4xx", "5xx"), False),
        ("4", ("4xx",), False),
        ("200", ("4xx", "5xx"), False),
    ],
)
def test_the_word_about_a_code_goes_before_that_about_its_class(code: str, http: tuple[str, ...], failed: bool) -> None:
    """And no answer at all is a failure where nobody says that it is none."""
    assert Failures(http).of_http(code) is failed


def test_a_saved_plan_is_read_again_as_it_is() -> None:
    """A run's copy of its plan lies in a record for weeks."""
    plan = read_plan(PLAN.format(analysis="httpFailures: [5xx, 404, not 501], grpcFailures: [server, ABORTED]"))
    again = Plan.model_validate_json(plan.model_dump_json(by_alias=True))
    assert again == plan
    assert again.digest == plan.digest


def test_a_plan_of_hosts_is_read_again_as_it_is() -> None:
    """A Service for each version: neither has a subset, and a record that cannot be read is a run without a master."""
    target = "virtualService: api, host: api, stable: {host: api-v1}, canary: {host: api-v2}"
    plan = read_plan(PLAN.format(analysis="").replace("virtualService: api, host: api, canary: {subset: v2}", target))
    assert Plan.model_validate_json(plan.model_dump_json(by_alias=True)) == plan
    assert Plan.model_validate(plan.model_dump(mode="json", by_alias=True, exclude_none=True)) == plan


def test_a_plan_saved_before_counts_as_it_did() -> None:
    """Its record knows nothing of HTTP answers that count."""
    content = a_plan().model_dump(mode="json", by_alias=True)
    del content["spec"]["analysis"]["httpFailures"]
    assert Plan.model_validate(content).spec.analysis.failures == Failures(("5xx",), (2, 4, 12, 13, 14, 15))


@pytest.mark.parametrize(
    ("failures", "words"),
    [
        (Failures(), ""),
        (Failures(("4xx", "5xx", "not 404")), "4xx, 5xx, no answer (not 404)"),
        (Failures(("5xx", "not 0")), "5xx"),
        (Failures(grpc=(14,)), "gRPC 14 UNAVAILABLE"),
        (Failures(grpc=(2, 4, 8, 13, 14, 15)), "gRPC as usual and 8 RESOURCE_EXHAUSTED (not 12 UNIMPLEMENTED)"),
        (Failures(("not 0",), ()), "no HTTP answer; no gRPC status"),
    ],
)
def test_what_counts_is_said_where_it_is_not_the_usual(failures: Failures, words: str) -> None:
    """A verdict of 40 failures has to say that 38 of them are 404, and that the plan wants it so."""
    assert failures.words == words
