"""Route and admission: what a plan may start on, and what each refusal says."""

from __future__ import annotations

import json
import shlex
from typing import Any

import jsonpatch
import pytest

from canaryd.mesh.admission import admission
from canaryd.mesh.weights import Guard, marker_key, split_of, weight_patch
from canaryd.model.problem import Refused
from canaryd.model.traffic import NOTHING, Admission, Entry, Split, Version
from tests.mesh.objects import (
    ROUTE,
    V1,
    V2,
    V3,
    applied,
    at,
    deployment,
    destination,
    destination_rule,
    entry,
    marker,
    plan,
    pod,
    service,
    surroundings,
    virtual_service,
)

Object = dict[str, Any]
JASON = [{"headers": {"end-user": {"exact": "jason"}}}]


def refused(found: Object, around: Any = None, **target: Any) -> str:
    """Every sentence of the refusal."""
    with pytest.raises(Refused) as refusal:
        admission(plan(**target), found, around or surroundings())
    for problem in refusal.value.problems:
        assert problem.path
        assert problem.expected
    return str(refusal.value)


def admitted(found: Object, around: Any = None, **target: Any) -> Admission:
    return admission(plan(**target), found, around or surroundings())


# -- what may start


def test_a_plan_on_a_whole_stable_is_admitted() -> None:
    """The main road: stable has everything, the canary is not in the entry yet."""
    answer = admitted(virtual_service(entry(destination(V1))))
    assert answer.route == ROUTE
    assert answer.split == NOTHING
    assert answer.sides.canary.workloads == ("reviews-v3",)
    assert answer.sides.stable.ready == 2
    assert answer.remarks == ()


def test_stable_may_be_left_out() -> None:
    """It is who holds 100 %."""
    assert admitted(virtual_service(entry(destination(V2))), stable=None).route.stable == V2
    assert admitted(at(100, 0), stable=None).route.stable == V1


def test_the_entry_is_found_by_its_name_or_alone() -> None:
    """Other entries, to other hosts, are none of ours."""
    other = entry(destination(Version("ratings", "v1")), match=[{"uri": {"prefix": "/r"}}])
    ours = entry(destination(V1, 100), name="main")
    assert admitted(virtual_service(other, ours)).route.entries == (Entry(1, "main"),)
    assert admitted(virtual_service(other, ours), routes=["main"]).route.entries == (Entry(1, "main"),)


def test_hosts_in_the_plan_may_be_spelled_otherwise() -> None:
    """The route takes the object's spelling, which an inserted destination will have too."""
    answer = admitted(virtual_service(entry(destination(V1))), host="reviews.default.svc.cluster.local")
    assert answer.route == ROUTE


def test_versions_may_be_hosts_of_their_own() -> None:
    """Services per version, without a DestinationRule."""
    stable, canary = Version("reviews-v1"), Version("reviews-v3")
    services = [
        {"metadata": {"name": f"reviews-{one}", "namespace": "default"}, "spec": {"selector": {"version": one}}}
        for one in ("v1", "v3")
    ]
    answer = admitted(
        virtual_service(entry(destination(stable))),
        surroundings(services=services, destination_rules=[]),
        stable={"host": "reviews-v1"},
        canary={"host": "reviews-v3"},
    )
    assert (answer.route.stable, answer.route.canary) == (stable, canary)
    assert answer.sides.canary.workloads == ("reviews-v3",)


# -- where the traffic stands


def test_a_split_at_the_start_is_refused_with_the_command_that_repairs_it() -> None:
    """The seed's reviews stands at 50/50; the command is run here, and does what it says."""
    found = at(50, 50)
    said = refused(found)
    assert "50 % at v3" in said
    command = said[said.index("kubectl patch") :].split("\n")[0].rstrip(")")
    words = shlex.split(command)
    assert words[:6] == ["kubectl", "patch", "virtualservice", "reviews", "-n", "default"]
    assert split_of(jsonpatch.apply_patch(found, json.loads(words[-1])), ROUTE).split == NOTHING


def test_a_small_split_may_be_where_the_run_starts() -> None:
    """At or below the first step only, and only if the plan says so."""
    assert "start: {from: current}" in refused(at(97, 3))
    assert "start: {from: current}" not in refused(at(50, 50))
    assert admission(plan(start="current"), at(97, 3), surroundings()).split == Split.percent(3)
    with pytest.raises(Refused):
        admission(plan(start="current"), at(90, 10), surroundings())


@pytest.mark.parametrize("found", [at(0, 100), virtual_service(entry(destination(V3)))])
@pytest.mark.parametrize("stable", [{"subset": "v1"}, None])
def test_already_at_the_canary_has_its_own_sentence(found: Object, stable: Any) -> None:
    """Nothing is wrong, nothing runs; the remedy is not to move traffic back."""
    said = refused(found, stable=stable)
    assert "already at the canary: v3 holds 100 %" in said
    assert len(said.splitlines()) == 1


def test_nobody_holds_everything() -> None:
    """Stable left out among two others: canaryd does not choose."""
    found = virtual_service(entry(destination(V1, 50), destination(V2, 50)))
    assert "nobody else than v3 alone holds" in refused(found, stable=None)


# -- entries


@pytest.mark.parametrize(
    ("found", "target", "said"),
    [
        (at(100, 0), {"routes": ["mian"]}, "named there: none"),
        (virtual_service(entry(destination(V1), name="main")), {"routes": ["mian"]}, "did you mean main?"),
        (
            virtual_service(entry(destination(V1), name="a", match=JASON), entry(destination(V1), name="a")),
            {"routes": ["a"]},
            "which 2 have: http[0], http[1]",
        ),
        (
            virtual_service(entry(destination(V1), match=JASON), entry(destination(V1))),
            {},
            "because 2 of VirtualService default/reviews fit, got http[0], http[1]",
        ),
        (virtual_service({"delegate": {"name": "far", "namespace": "away"}}), {}, "away/far"),
        (virtual_service({"name": "a", "delegate": {"name": "far"}}), {"routes": ["a"]}, "got delegate far"),
        (virtual_service({"name": "a", "redirect": {"uri": "/"}}), {"routes": ["a"]}, "got redirect"),
        (virtual_service({"name": "a", "directResponse": {"status": 503}}), {"routes": ["a"]}, "got directResponse"),
        (virtual_service(), {}, "an http entry"),
        (virtual_service(entry(destination(Version("ratings")))), {}, "hosts there: ratings"),
        (virtual_service(entry(destination(V2))), {}, "they send to reviews v2"),
        (
            virtual_service(entry(destination(V1, 80), destination(V2, 20))),
            {},
            "no destinations but v1 and v3, got reviews v2 with weight 20",
        ),
        (virtual_service(entry(destination(V1, 50), destination(V1, 50))), {}, "each version once, got v1 twice"),
        (
            virtual_service(entry(destination(Version("x"))), entry(destination(V1), match=JASON)),
            {},
            "http[0] before it, which takes everything",
        ),
        (
            virtual_service(
                entry(destination(Version("x")), match=[{"uri": {"prefix": "/"}, "name": "a"}]), entry(destination(V1))
            ),
            {},
            "http[0] before it, which takes everything",
        ),
        (virtual_service(entry(destination(V1), fault={"abort": {"httpStatus": 500}})), {}, "no fault injection"),
        (at(100, 0), {"canary": {"subset": "v1", "host": "reviews.default"}}, "two different versions, got v1"),
    ],
)  # fmt: skip
def test_what_cannot_be_moved_is_refused(found: Object, target: Object, said: str) -> None:
    """Each with what was found and what to do."""
    assert said in refused(found, **target)


def test_a_third_destination_on_a_port_has_its_command_too() -> None:
    """The command gives its share to stable; it is applied here, and then the plan may start."""
    port = {"number": 9080}
    found = virtual_service(entry(destination(V1, 80, port=port), destination(V2, 20, port=port)))
    said = refused(found)
    words = shlex.split(said[said.index("kubectl patch") :].split("\n")[0].rstrip(")"))
    assert admitted(applied(found, json.loads(words[-1]))).split == NOTHING


def test_tcp_and_tls_are_said_to_be_all_there_is() -> None:
    """Weights of connections are another matter."""
    found = virtual_service()
    found["spec"] = {"hosts": ["reviews"], "tcp": [{"route": [destination(V1)]}]}
    assert "tcp entries only" in refused(found)


def test_a_narrow_match_shadows_nothing() -> None:
    """It takes some requests, not all."""
    narrow = entry(destination(Version("x")), match=[{"uri": {"prefix": "/"}, "headers": {"a": {"exact": "b"}}}])
    assert admitted(virtual_service(narrow, entry(destination(V1)))).split == NOTHING


def test_retries_and_timeouts_are_remarks() -> None:
    """They change what is measured, and stop nothing."""
    found = virtual_service(entry(destination(V1), retries={"attempts": 3}, timeout="1s"))
    assert len(admitted(found).remarks) == 2


def test_who_says_that_nothing_is_retried_hears_nothing_of_retries() -> None:
    """`attempts: 0` is how the usual two are turned off; to call that retries would be wrong."""
    for retries in ({"attempts": 0}, {"retryOn": "503"}):
        assert admitted(virtual_service(entry(destination(V1), retries=retries))).remarks == ()


def test_every_problem_is_told_at_once() -> None:
    """The first one must not hide the others."""
    found = virtual_service(entry(destination(V1, 80), destination(V2, 20), fault={"delay": {}}))
    around = surroundings(destination_rules=[destination_rule("v1")])
    said = refused(found, around)
    assert "no destinations but" in said
    assert "no fault injection" in said
    assert "no subset v3" in said


# -- population


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (entry(destination(V3), match=JASON), "a destination reviews v3"),
        (entry(destination(Version("reviews.default")), match=JASON), "a destination reviews.default"),
        (entry(destination(V2), match=JASON, mirror={"host": "reviews", "subset": "v3"}), "a mirror to reviews v3"),
        (
            entry(destination(V2), match=JASON, mirrors=[{"destination": {"host": "reviews", "subset": "v3"}}]),
            "a mirror to reviews v3",
        ),
    ],
)
def test_another_way_to_a_version_is_another_population(other: Object, said: str) -> None:
    """Jason's requests are not a random part of all: what they show is about Jason. Objectives alone may judge."""
    found = virtual_service(other, entry(destination(V1), name="main"))
    sentence = refused(found, routes=["main"])
    assert said in sentence
    assert "objectives alone" in sentence
    answer = admission(plan(objectives=True, routes=["main"]), found, surroundings())
    assert any(said in remark for remark in answer.remarks)


def test_the_remedy_names_the_plans_own_list() -> None:
    """An entry of the same object can move along."""
    found = virtual_service(entry(destination(V1), match=JASON, name="jason"), entry(destination(V1), name="main"))
    assert "list it in target.routes" in refused(found, routes=["main"])
    assert len(admitted(found, routes=["jason", "main"]).route.entries) == 2


def test_another_virtual_service_is_another_way() -> None:
    """A gateway's VirtualService in another namespace reaches the canary as well."""
    gateway = virtual_service(
        entry(destination(Version("reviews.default.svc.cluster.local", "v3"))), name="edge", namespace="ingress"
    )
    assert "VirtualService ingress/edge http[0]" in refused(at(100, 0), surroundings(virtual_services=[gateway]))
    stranger = virtual_service(entry(destination(V3)), name="edge", namespace="ingress")
    assert admitted(at(100, 0), surroundings(virtual_services=[stranger, at(0, 100)])).split == NOTHING


def test_a_way_to_a_third_version_is_none_of_ours() -> None:
    """v2 for Jason does not touch v1 and v3."""
    found = virtual_service(entry(destination(V2), match=JASON), entry(destination(V1)))
    assert admitted(found).route.entries == (Entry(1),)


# -- pods and subsets


def test_a_missing_subset_is_refused_with_what_there_is() -> None:
    """Requests to it would get 503 NC."""
    said = refused(at(100, 0), surroundings(destination_rules=[destination_rule("v1", "v2")]))
    assert "subsets there: v1, v2" in said
    assert "kubectl patch destinationrule reviews -n default" in said
    assert "there is no DestinationRule for reviews" in refused(at(100, 0), surroundings(destination_rules=[]))


def test_the_rule_in_the_callers_namespace_hides_the_services() -> None:
    """Istio looks no further than the first namespace with a rule, and merges nothing across."""
    far = virtual_service(entry(destination(Version("reviews.shop", "v1"))))
    rules = [
        destination_rule("v1", "v3", host="reviews", namespace="shop"),
        destination_rule("v1", host="reviews.shop", namespace="default"),
    ]
    services = [service(namespace="shop")]
    said = refused(far, surroundings(destination_rules=rules, services=services), host="reviews.shop")
    assert "DestinationRule default/reviews" in said


def test_an_unknown_host_is_refused() -> None:
    """No Service, no pods to see, and the destination would be 503."""
    said = refused(at(100, 0), surroundings(services=[service("ratings")]))
    assert "no Service default/reviews; Services there: ratings" in said


def test_stable_without_ready_pods_is_refused() -> None:
    """There would be nowhere to go back to."""
    pods = [pod("v1", ready=False), pod("v3")]
    assert "v1 selects no ready pod (app=reviews,version=v1)" in refused(at(100, 0), surroundings(pods=pods))


def test_a_canary_on_its_way_is_waited_for() -> None:
    """`kubectl apply` and canaryd in one pipeline: its pods come a moment later."""
    around = surroundings(pods=[pod("v1"), pod("v3", ready=False)])
    assert "v3 selects no ready pod yet; the run waits for it" in admitted(at(100, 0), around).remarks[0]


def test_a_canary_that_nobody_starts_is_refused() -> None:
    """Scaled to nothing, or no workload at all: waiting would not help."""
    scaled_down = surroundings(pods=[pod("v1")], deployments=[deployment("v1"), deployment("v3", 0)])
    assert "v3 selects no ready pod" in refused(at(100, 0), scaled_down)
    absent = surroundings(pods=[pod("v1")], deployments=[deployment("v1")])
    assert "kubectl get deployments,pods -n default -l app=reviews,version=v3" in refused(at(100, 0), absent)


def test_subsets_that_share_a_pod_are_refused() -> None:
    """A pod in both poisons the comparison."""
    rule = destination_rule("v1", "v3")
    rule["spec"]["subsets"][1]["labels"] = {}
    assert "versions that share no pod" in refused(at(100, 0), surroundings(destination_rules=[rule]))


# -- others' hands


def test_another_runs_marker_is_a_claim() -> None:
    """Two runs on one entry would undo each other; on different entries they may."""
    other = jsonpatch.apply_patch(at(100, 0), weight_patch(at(100, 0), ROUTE, marker(0), Guard.OBJECT))
    notes = other["metadata"]["annotations"]
    assert "claimed by an earlier run of this plan, run run-1" in refused(other)
    renamed = {key.replace("/reviews", "/other"): value for key, value in notes.items()}
    other["metadata"]["annotations"] = renamed
    assert "claimed by plan other" in refused(other)
    assert f"{marker_key('other')}-" in refused(other)
    elsewhere = {key: value.replace("http[0]", "http[5]") for key, value in renamed.items()}
    other["metadata"]["annotations"] = elsewhere
    assert admitted(other).split == NOTHING


def test_weights_of_a_run_in_flight_are_not_repaired_under_it() -> None:
    """Who copies a remedy at night must not take the traffic out of the hands of a run that goes well."""
    started = jsonpatch.apply_patch(at(100, 0), weight_patch(at(100, 0), ROUTE, marker(5), Guard.OBJECT))
    said = refused(started)
    assert "claimed by an earlier run of this plan" in said
    assert "only when nothing else works on it any more: kubectl patch virtualservice" in said


def test_flaggers_and_argos_objects_are_left_to_them() -> None:
    """They set the weights themselves, and would set them back."""
    found = at(100, 0)
    found["metadata"]["ownerReferences"] = [
        {"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "name": "reviews", "uid": "u"}
    ]
    assert "Flagger" in refused(found)
    rollout = {
        "metadata": {"name": "reviews", "namespace": "default"},
        "spec": {"strategy": {"canary": {"trafficRouting": {"istio": {"virtualService": {"name": "reviews"}}}}}},
    }
    assert "Rollout reviews" in refused(at(100, 0), surroundings(rollouts=[rollout]))


def test_a_gitops_tools_object_is_remarked_upon() -> None:
    """It puts the weights back unless told to ignore them; that is for a person to arrange."""
    found = at(100, 0)
    found["metadata"]["annotations"] = {"argocd.argoproj.io/tracking-id": "x"}
    assert "GitOps" in admitted(found).remarks[0]
