"""
What admission refuses, or says and lets pass: each code on Bookinfo, and each command typed as it is given.

How each is found in detail is tested where it is found (``tests/mesh``, ``tests/engine``, ``tests/metrics``).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from canaryd.engine.admission import look
from canaryd.model import codes
from canaryd.model.finding import Finding
from canaryd.preflight.groups import GROUPS
from tests.engine.test_preflight import Examiner
from tests.preflight.objects import istio
from tests.preflight.stage import Town, plan
from tests.store.memory import MemoryStore
from tests.world import Remembered, ports

Object = dict[str, Any]
Change = Callable[[Town], object]

MARKER = "marker.canaryd.io/reviews"


def to(subset: str, weight: int | None = None, host: str = "reviews") -> Object:
    return {"destination": {"host": host, "subset": subset}} | ({} if weight is None else {"weight": weight})


def entries(*http: Object, **spec: Any) -> Change:
    """The VirtualService with these http entries."""
    found = istio("VirtualService", "reviews", {"hosts": ["reviews"], **({"http": list(http)} if http else {}), **spec})
    return lambda town: town.apply(found)


def routed(*destinations: Object, **more: Any) -> Change:
    """With one entry that sends to these."""
    return entries({**more, "route": list(destinations)})


def target(**changes: Any) -> Change:
    """A plan whose target says something else; None takes a key out."""

    def change(town: Town) -> None:
        known = {"virtualService": "reviews", "host": "reviews", "stable": {"subset": "v1"}, "canary": {"subset": "v3"}}
        said = {key: value for key, value in {**known, **changes}.items() if value is not None}
        town.plan = plan(target=said)

    return change


def both(*changes: Change) -> Change:
    def change(town: Town) -> None:
        for one in changes:
            one(town)

    return change


def jason_first(town: Town) -> None:
    """A plan whose first step is for one person."""
    town.plan = plan(steps=[{"match": [{"headers": {"end-user": {"exact": "jason"}}}]}, {"weight": 50}])


def marked(annotation: str, value: str = "x") -> Change:
    def change(town: Town) -> None:
        found = town.cluster.find("VirtualService", "default", "reviews")
        assert found is not None
        found["metadata"]["annotations"] = {annotation: value}
        town.apply(found)

    return change


def edited(kind: str, name: str, edit: Callable[[Object], object]) -> Change:
    def change(town: Town) -> None:
        found = town.cluster.find(kind, "default", name)
        assert found is not None
        changed = copy.deepcopy(found)
        edit(changed["spec"])
        town.cluster.apply(changed)
        town.settle()

    return change


def named(name: str, *destinations: Object) -> Object:
    return {"name": name, "match": [{"uri": {"prefix": f"/{name}"}}], "route": list(destinations)}


def one_workload(town: Town) -> None:
    """Two pods of one Deployment, told apart by a label that somebody has put on them."""
    pods = town.pods(app="reviews", version="v1")
    for pod, track in zip(pods, ("stable", "canary"), strict=True):
        pod["metadata"]["labels"]["track"] = track
        town.cluster.apply(pod)
    tracks = [{"name": "v1", "labels": {"track": "stable"}}, {"name": "v3", "labels": {"track": "canary"}}]
    edited("DestinationRule", "reviews", lambda spec: spec.update(subsets=tracks))(town)


def same_labels(spec: Object) -> None:
    spec["subsets"][2]["labels"] = {"version": "v1"}


ERRORS: dict[str, tuple[str, Change]] = {
    "the VirtualService is not there": ("VirtualServiceMissing", target(virtualService="nowhere")),
    "the host is no Service": (
        "ServiceMissing",
        both(target(host="elsewhere.example"), routed(to("v1", host="elsewhere.example"))),
    ),
    "the Service selects nothing": (
        "ServiceWithoutSelector",
        edited("Service", "reviews", lambda spec: spec.update(selector=None)),
    ),
    "stable is the canary": (
        "SameVersion",
        target(stable={"host": "reviews.default.svc.cluster.local", "subset": "v3"}),
    ),
    "there are tcp entries only": ("NoHttpEntry", entries(tcp=[{"route": [{"destination": {"host": "reviews"}}]}])),
    "no entry has the name": ("RouteUnknown", target(routes=["blue"])),
    "two entries fit": ("RouteAmbiguous", entries(named("a", to("v1")), {"route": [to("v1")]})),
    "an entry is listed twice": (
        "RouteTwice",
        both(target(routes=["a", "a"]), entries(named("a", to("v1")))),
    ),
    "no entry sends to the host": ("HostNotInRoute", entries({"route": [{"destination": {"host": "ratings"}}]})),
    "no entry sends to stable": ("StableNotInRoute", routed(to("v2"))),
    "nobody alone is stable": ("StableUnclear", both(target(stable=None), routed(to("v1", 50), to("v2", 50)))),
    "the entry hands over": ("DelegatesElsewhere", entries({"delegate": {"name": "reviews-routes"}})),
    "the entry redirects": (
        "NoWeights",
        both(target(routes=["away"]), entries({"name": "away", "redirect": {"uri": "/"}})),
    ),
    "a version is there twice": ("DestinationTwice", routed(to("v1", 50), to("v1", 50))),
    "a third version takes traffic": ("ForeignDestination", routed(to("v1", 70), to("v2", 30))),
    "the entry injects faults": (
        "FaultInjected",
        routed(to("v1"), fault={"abort": {"httpStatus": 500, "percentage": {"value": 10}}}),
    ),
    "the entry asks for a step's header otherwise": (
        "MatchConflict",
        both(jason_first, routed(to("v1"), match=[{"headers": {"end-user": {"exact": "anna"}}}])),
    ),
    "an earlier entry takes all": (
        "EntryShadowed",
        both(target(routes=["late"]), entries({"route": [to("v2")]}, named("late", to("v1")))),
    ),
    "another entry reaches the canary": (
        "OtherWay",
        both(target(routes=["a"]), entries(named("b", to("v3")), named("a", to("v1")))),
    ),
    "two entries disagree": (
        "NoSplit",
        both(
            target(routes=["a", "b"]),
            entries(named("a", to("v1", 100), to("v3", 0)), named("b", to("v1", 50), to("v3", 50))),
        ),
    ),
    "the seed's fifty": ("NotAtStable", routed(to("v1", 50), to("v3", 50))),
    "the canary has it all": ("AlreadyAtCanary", routed(to("v1", 0), to("v3", 100))),
    "another run's marker": ("Claimed", marked(MARKER, "{}")),
    "Flagger's mark": ("FlaggerOwns", marked("flagger.kubernetes.io/original-configuration", "{}")),
    "Argo's mark": ("ArgoRolloutsOwns", marked("argo-rollouts.argoproj.io/managed-by-rollouts", "reviews")),
    "no such subset": ("SubsetMissing", edited("DestinationRule", "reviews", lambda spec: spec["subsets"].pop())),
    "the canary is scaled to nothing": (
        "NoReadyPods",
        edited("Deployment", "reviews-v3", lambda spec: spec.update(replicas=0)),
    ),
    "both are of one workload": ("SharedWorkload", one_workload),
    "both select the same pods": ("PodsInBoth", edited("DestinationRule", "reviews", same_labels)),
}
"""What stops a run, with its code. Of those with a command the command is typed."""
SAID: dict[str, tuple[str, Change]] = {
    "retries": ("RetriesHideFailures", routed(to("v1"), retries={"attempts": 2, "retryOn": "connect-failure"})),
    "a timeout": ("TimeoutCuts", routed(to("v1"), timeout="3s")),
    "a mirror": ("MirrorLoads", routed(to("v1"), mirror={"host": "ratings"})),
    "a version without traffic": ("IdleDestination", routed(to("v1", 100), to("v2", 0))),
    "pods on their way": ("NotReadyYet", lambda town: town.ready(town.pods(version="v3"), ready=False)),
}
"""What stops nothing."""
ELSEWHERE = {
    "KubernetesUnreachable": "tests/engine/test_preflight.py",
    "RightMissing": "tests/preflight/test_apis.py",
    "PatchRefused": "tests/mesh/test_virtualservice.py",
    "GitOpsKeeps": "tests/preflight/test_writers.py",
    "SubsetMissingForClients": "tests/preflight/test_subsets.py",
    "NotAllSearched": "tests/mesh/test_virtualservice.py",
    "NotRehearsed": "tests/mesh/test_virtualservice.py",
    "ChangedMeanwhile": "tests/mesh/test_virtualservice.py",
    "OnlyObserving": "tests/engine/test_observing.py",
    "WebhookBarred": "tests/contracts/test_webhooks.py",
    "ChannelBarred": "tests/contracts/test_channels.py",
    "PrometheusUnreachable": "tests/cli/test_preflight.py",
    "PrometheusBarred": "tests/preflight/test_hearing.py",
    "ClockSkew": "tests/metrics/test_prometheus.py",
    "NoSeries": "tests/metrics/test_prometheus.py",
    "LabelMissing": "tests/metrics/test_prometheus.py",
    "ScrapedTooSeldom": "tests/metrics/test_prometheus.py",
}
"""Those that Bookinfo on an API server cannot have, with the test that has them."""


def looked(town: Town) -> dict[str, Finding]:
    """What admission finds, by code; Prometheus and other runs have nothing against it."""
    found = look(town.plan, ports(town.mesh, Remembered(0.0), MemoryStore(), Examiner()))
    return {one.code: one for one in found}


def test_of_a_healthy_bookinfo_admission_has_nothing_to_say(town: Town) -> None:
    assert looked(town) == {}


@pytest.mark.parametrize("case", ERRORS)
def test_what_stops_a_run_has_its_code_and_the_command_cures_it(town: Town, case: str) -> None:
    code, change = ERRORS[case]
    change(town)
    finding = looked(town)[code]
    assert finding.level == "error"
    assert finding.sentence
    if finding.remedy:
        town.type(finding.remedy)
        after = looked(town)
        assert code not in after or code == "RouteAmbiguous", after


def test_entries_that_were_given_names_can_be_listed(town: Town) -> None:
    """The command names them; which shall move together only the plan can say."""
    entries(named("a", to("v1")), {"route": [to("v1")]})(town)
    town.type(looked(town)["RouteAmbiguous"].remedy)
    target(routes=["a", "reviews-1"])(town)
    assert looked(town) == {}


@pytest.mark.parametrize("case", SAID)
def test_what_is_good_to_know_is_said_and_stops_nothing(town: Town, case: str) -> None:
    code, change = SAID[case]
    change(town)
    found = looked(town)
    assert found[code].level != "error"
    assert {one.level for one in found.values()} <= {"info", "warning"}


def test_every_code_of_admission_has_a_test() -> None:
    here = {code for code, _ in (*ERRORS.values(), *SAID.values())}
    assert here | ELSEWHERE.keys() == {code.name for code in codes.CODES}
    assert not here & ELSEWHERE.keys()
    assert all((Path(__file__).parents[2] / file).is_file() for file in ELSEWHERE.values())


def test_every_code_of_preflight_is_named_in_a_test_of_its() -> None:
    """A check that no test has seen fire is a check that nobody has seen work."""
    text = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    named_there = set(re.findall(r"[A-Z][A-Za-z0-9]+", text))
    assert {code.name for group in GROUPS for code in group.codes} - named_there == set()
