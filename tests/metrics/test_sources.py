"""Several Prometheus by name: who may be measured by which, and that a run keeps the one that it began with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from canaryd.errors import Rejected, Unavailable
from canaryd.metrics.prometheus import Prometheus
from canaryd.metrics.sources import Sources
from canaryd.model.cells import Cell, Sought
from canaryd.model.plan import Plan, read_plan
from canaryd.model.problem import Refused
from canaryd.settings import NamedSource, Settings, Source
from tests.metrics.load import Load
from tests.metrics.recorded import Recorded
from tests.metrics.worlds import closed_url, window

NOW = 1_700_000_000.0
AT = window(NOW - 30, NOW - 15)
REVIEWS = Sought(
    ("reviews.default.svc.cluster.local",), "default", ("reviews-v1",), ("reviews-v3",), (2, 4, 12, 13, 14, 15), 15.0
)
PLAN = """
metadata: {{name: reviews, namespace: {namespace}}}
spec:
  target: {{virtualService: reviews, host: reviews, canary: {{subset: v3}}}}
  steps: [{{weight: 50}}]
  analysis: {{{analysis}}}
"""


def plan(namespace: str, named: str = "") -> Plan:
    return read_plan(PLAN.format(namespace=namespace, analysis=f"prometheus: {named}" if named else ""))


@pytest.fixture
def servers() -> Iterator[dict[str, Recorded]]:
    load = Load(since=NOW - 3600)
    load.turn(NOW - 600, share=0.1)
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(Recorded(load.book(15.0), clock=lambda: NOW))
            for name in ("", "payments", "global")
        }


def settings(servers: dict[str, Recorded]) -> Settings:
    return Settings(
        prometheus=Source(url=servers[""].url),
        prometheuses={
            "payments": NamedSource(
                url=servers["payments"].url, namespaces=("payments", "ledger"), default_for=("payments",)
            ),
            "global": NamedSource(url=servers["global"].url, namespaces=("*",)),
        },
    )


@pytest.mark.parametrize(
    ("namespace", "named", "chosen"),
    [
        ("shop", "", ""),
        ("payments", "", "payments"),
        ("ledger", "", ""),
        ("ledger", "payments", "payments"),
        ("shop", "global", "global"),
        ("payments", "global", "global"),
    ],
)
def test_a_plan_is_measured_by_what_it_names_else_by_its_namespace_s(
    servers: dict[str, Recorded], namespace: str, named: str, chosen: str
) -> None:
    """And the question goes there, and nowhere else."""
    sources = Sources(settings(servers))
    assert sources.choose(plan(namespace, named)) == chosen
    found = sources.count(replace(REVIEWS, source=chosen, asker=namespace), AT)
    assert isinstance(found, Cell)
    assert {name for name, server in servers.items() if server.asked} == {chosen}


@pytest.mark.parametrize(
    ("namespace", "named", "words"),
    [
        ("shop", "payments", "a Prometheus that plans of namespace shop may be measured by, got payments"),
        ("shop", "payments", "there are, for namespace shop: global; add shop to prometheuses.payments.namespaces"),
        ("ledger", "paymnets", "a Prometheus of the settings (prometheuses), got paymnets (did you mean payments?"),
        ("shop", "paymnets", "there are, for namespace shop: global; leave it out, or add it to the settings"),
    ],
)
def test_a_plan_that_names_what_it_may_not_is_refused(
    servers: dict[str, Recorded], namespace: str, named: str, words: str
) -> None:
    """With path and value, what there is for its namespace, and nothing of what there is for others."""
    with pytest.raises(Refused) as caught:
        Sources(settings(servers)).choose(plan(namespace, named))
    text = str(caught.value)
    assert text.startswith("spec.analysis.prometheus: ")
    assert words in text


@pytest.mark.parametrize("url", ["http://elsewhere:9090", "elsewhere:9090", "//elsewhere"])
def test_a_plan_never_says_a_url(url: str) -> None:
    """Who writes plans must not make canaryd send its credentials, or any request, somewhere."""
    with pytest.raises(Refused, match="the name of a Prometheus in the settings") as caught:
        plan("shop", f'"{url}"')
    assert caught.value.problems[0].path == "spec.analysis.prometheus"


def test_a_run_s_copy_is_not_believed_either(servers: dict[str, Recorded]) -> None:
    """Who may write runs could name anything in one; and a right that was taken away is taken away at once."""
    sources = Sources(settings(servers))
    for asker, source in (("shop", "payments"), ("shop", "gone")):
        to = replace(REVIEWS, source=source, asker=asker)
        with pytest.raises(Rejected, match=r"spec\.analysis\.prometheus"):
            sources.count(to, AT)
        with pytest.raises(Rejected, match=r"spec\.analysis\.prometheus"):
            sources.history(to, [AT])
        [problem] = sources.probe(to)
        assert source in problem.value
    assert not any(server.asked for server in servers.values())


def test_one_prometheus_alone_has_no_name() -> None:
    """As where settings have no prometheuses, in the lab and in tests."""
    one = Prometheus(closed_url())
    assert one.choose(plan("shop")) == ""
    with pytest.raises(Refused, match="leave it out"):
        one.choose(plan("shop", "payments"))


def test_an_error_names_the_setting_it_is_about(servers: dict[str, Recorded]) -> None:
    """With three of them a person has to know which."""
    servers["payments"].close()
    servers["global"].status, servers["global"].body = 401, b"who are you?"
    sources = Sources(settings(servers))
    with pytest.raises(Unavailable, match=f"Prometheus at {servers['payments'].url} cannot be asked"):
        sources.count(replace(REVIEWS, source="payments", asker="payments"), AT)
    [problem] = sources.probe(replace(REVIEWS, source="payments", asker="payments"))
    assert problem.path == "prometheuses.payments"
    with pytest.raises(Rejected, match=r"give prometheuses\.global\.bearer_token_file"):
        sources.count(replace(REVIEWS, source="global", asker="shop"), AT)


def test_a_plan_that_names_none_is_the_same_as_a_copy_in_which_the_settings_did() -> None:
    """Otherwise each plan of a bound namespace would look edited from its first look on."""
    assert plan("payments").same_as(plan("payments").measured_by("payments"))
    assert plan("payments", "payments").same_as(plan("payments").measured_by("payments"))
    assert not plan("payments", "global").same_as(plan("payments").measured_by("payments"))
    assert not plan("ledger").same_as(plan("payments").measured_by("payments"))


def test_any_query_goes_to_the_one_that_is_sought_and_a_partial_answer_says_so(servers: dict[str, Recorded]) -> None:
    """Preflight asks what no cell asks; it is told as much about the answer."""
    sources, servers["payments"].warnings = Sources(settings(servers)), ["a store is away"]
    payments = replace(REVIEWS, source="payments", asker="payments")
    answer = sources.ask(payments, "vector(time())", time.monotonic() + 5)
    assert ([row.value for row in answer.rows], answer.partial) == ([NOW], "a store is away")
    assert [len(one.asked) for one in servers.values()] == [0, 1, 0]
    with pytest.raises(Rejected):
        sources.ask(replace(payments, asker="shop"), "vector(time())", time.monotonic() + 5)
    with pytest.raises(Unavailable):
        sources.ask(payments, "vector(time())", time.monotonic())
