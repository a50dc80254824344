"""Policies: a plan over the policy that it names over the policy `default`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canaryd.model.layers import effective
from canaryd.model.plan import Plan, plan_of, read_plan
from canaryd.model.policy import policies_of, policy_of, read_policy
from canaryd.model.problem import Refused

TARGET = {"virtualService": "reviews", "host": "reviews", "canary": {"subset": "v3"}}


def content(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "reviews"}, "spec": {"target": TARGET, **spec}}


def policy(name: str = "default", **spec: Any) -> dict[str, Any]:
    return {"kind": "CanaryPolicy", "metadata": {"name": name}, "spec": spec}


def policies(*several: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in several}


DEFAULT = policy(steps=[{"weight": 10}, {"weight": 50}], analysis={"cell": "30s", "alpha": 0.02}, watch="1h")
CAREFUL = policy("careful", steps=[{"weight": 1}, {"weight": 5}, {"weight": 60}], analysis={"alpha": 0.001})


def refusal(call: Any) -> str:
    with pytest.raises(Refused) as refused:
        call()
    return str(refused.value)


# -- layers


def test_what_a_plan_leaves_out_is_the_default_policys() -> None:
    """Two hundred services share one policy and write two lines each."""
    plan = plan_of(content(), policies=policies(DEFAULT))
    assert [str(step.weight) for step in plan.spec.steps] == ["10 %", "50 %"]
    assert plan.spec.analysis.alpha == 0.02


def test_a_plan_goes_before_its_policy_and_that_before_default() -> None:
    """Each key is the uppermost's that says it; mappings are merged key by key."""
    plan = plan_of(content(**{"from": "careful", "analysis": {"beta": 0.1}}), policies=policies(DEFAULT, CAREFUL))
    analysis = plan.spec.analysis
    assert (analysis.beta, analysis.alpha, analysis.cell.total_seconds()) == (0.1, 0.001, 30)


def test_lists_are_replaced_as_a_whole() -> None:
    """No mixture of two lists of steps that nobody ever wrote."""
    plan = plan_of(content(steps=[{"weight": 70}]), policies=policies(DEFAULT))
    assert [(str(step.weight), step.bake.total_seconds()) for step in plan.spec.steps] == [("70 %", 600)]


def test_a_policy_cannot_say_what_is_a_plans_own() -> None:
    """Also where nobody has validated the policy: one release for every plan would start them all at once."""
    wrong = policy(release="9", target={"host": "x"}, steps=[{"weight": 50}], **{"from": "careful"})
    spec = effective(content(), policies(wrong, CAREFUL))["spec"]
    assert (spec["target"], "release" in spec, "from" in spec) == (TARGET, False, False)


def test_an_unknown_policy_is_refused_with_those_that_there_are() -> None:
    """Never the default in its place: the plan asked for something else."""
    said = refusal(lambda: plan_of(content(**{"from": "carefull"}), policies=policies(DEFAULT, CAREFUL)))
    assert "spec.from" in said
    assert "there: careful, default" in said
    assert "there: none" in refusal(lambda: plan_of(content(**{"from": "x"}), policies={}))


def test_without_policies_a_plan_that_names_one_is_refused_with_what_to_do() -> None:
    """The plan would be another one without it."""
    text = "metadata: {name: a}\nspec: {from: careful, target: {virtualService: a, host: a, canary: {subset: b}}}"
    said = refusal(lambda: read_plan(text, "a.yaml"))
    assert "--policies DIR" in said
    assert "a.yaml" in said


def test_a_problem_says_which_policy_it_came_from() -> None:
    """The person who reads it may not be the one who wrote it."""
    wrong = policy("careful", steps=[{"weight": 1}, {"weight": "half"}, {"weight": 60}], analysis={"alpa": 1})
    said = refusal(lambda: plan_of(content(**{"from": "careful", "watch": "soon"}), policies=policies(DEFAULT, wrong)))
    assert "spec.steps.1.weight (from policy careful): " in said
    assert "spec.analysis.alpa (from policy careful): a key that canaryd knows (did you mean alpha?)" in said
    assert "spec.watch: " in said


def test_a_problem_of_two_layers_names_both() -> None:
    """The scrape interval of one, the cell of nobody."""
    scrapes = policy(steps=[{"weight": 50}], analysis={"scrape": "1m"})
    said = refusal(lambda: plan_of(content(analysis={"alpha": 0.1}), policies=policies(scrapes)))
    assert "spec.analysis.cell (from plan and policy default): at least the scrape interval, 1m" in said


def test_the_digest_is_of_what_is_in_force() -> None:
    """A policy that changes is a plan that changes; where a value came from changes nothing."""
    whole = plan_of(content(steps=CAREFUL["spec"]["steps"], analysis={"alpha": 0.001}))
    assert plan_of(content(**{"from": "careful"}), policies=policies(CAREFUL)).digest == whole.digest
    other = policy("careful", **{**CAREFUL["spec"], "watch": "1m"})
    assert plan_of(content(**{"from": "careful"}), policies=policies(other)).digest != whole.digest


def test_layering_changes_no_object() -> None:
    """They are an informer's."""
    plan, under = content(**{"from": "careful", "analysis": {"beta": 0.1}}), policies(DEFAULT, CAREFUL)
    before = repr((plan, under))
    effective(plan, under)["spec"]["analysis"]["beta"] = 7
    assert repr((plan, under)) == before


leaf = st.integers() | st.lists(st.integers(), max_size=2)
trees = st.dictionaries(
    st.sampled_from("abc"), st.recursive(leaf, lambda inner: st.dictionaries(st.sampled_from("abc"), inner))
)


@settings(deadline=None)
@given(trees, trees, trees)
def test_a_plan_says_the_last_word_on_every_key_of_its_own(plan: Any, own: Any, default: Any) -> None:
    """Whatever lies below; and laid over them once more, it is the same."""
    under = {"default": {"spec": default}, "own": {"spec": own}}
    spec = effective({"spec": {**plan, "from": "own"}}, under)["spec"]
    assert effective({"spec": spec}, under)["spec"] == spec
    assert holds(spec, plan)
    assert all(key in spec for layer in (own, default) for key in layer)


def holds(whole: Any, part: Any) -> bool:
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and holds(whole[key], value) for key, value in part.items())
    return bool(whole == part)


# -- a policy by itself


def test_a_policy_is_what_it_says_and_no_more() -> None:
    """canaryd's defaults in it would hide another layer's values."""
    text = "kind: CanaryPolicy\nmetadata: {name: default}\nspec: {analysis: {cell: 30s}, onNoData: {hold: 5m}}"
    assert read_policy(text).content["spec"] == {"analysis": {"cell": "30s"}, "onNoData": {"hold": "5m"}}


def test_what_is_wrong_with_a_policy_is_said_at_once() -> None:
    """As with a plan."""
    said = refusal(
        lambda: policy_of(policy(stepps=[], analysis={"cell": "soon"}, onDrift="hld", steps=[{"weight": 0}]), "a.yaml")
    )
    assert "a.yaml: spec.stepps: a key that canaryd knows (did you mean steps?)" in said
    assert "spec.analysis.cell" in said
    assert "did you mean hold?" in said
    assert "spec.steps.0.weight" in said


@pytest.mark.parametrize("key", ["target", "release", "from"])
def test_a_plans_own_keys_are_refused_in_a_policy(key: str) -> None:
    """They are known keys, in the wrong place."""
    assert "only a plan can say it" in refusal(lambda: policy_of(policy(**{key: "x"})))


def test_steps_are_complete_where_there_are_any() -> None:
    """Without steps nothing is said of where they end."""
    assert policy_of(policy(watch="1m")).name == "default"
    assert "50 % or more" in refusal(lambda: policy_of(policy(steps=[{"weight": 5}])))
    assert "at least one item" in refusal(lambda: policy_of(policy(steps=[])))
    assert "weights that rise" in refusal(lambda: policy_of(policy(steps=[{"weight": 60}, {"weight": 50}])))
    assert policy_of(policy(steps=[{"weight": 5}], acceptUnproven="a page without readers"))


def test_what_another_layer_may_mend_is_not_refused_in_a_policy() -> None:
    """A scrape interval for all, and the cell that fits it in a layer above."""
    assert policy_of(policy(analysis={"scrape": "1m"}))
    assert policy_of(policy(analysis={"checks": [{"name": "slo", "metric": "error-rate", "atMost": "1%"}]}))
    assert "at least the scrape interval" in refusal(lambda: policy_of(policy(analysis={"scrape": "1m", "cell": "5s"})))


def test_a_plan_in_a_folder_of_policies_is_told_apart() -> None:
    """Its kind is not a policy's."""
    assert "CanaryPolicy" in refusal(lambda: policy_of({**content(), "kind": "CanaryPlan"}))


def test_several_policies_are_read_with_every_problem() -> None:
    """One broken file hides neither another's fault nor a name that is there twice."""
    good = "metadata: {name: default}\nspec: {watch: 1m}"
    said = refusal(lambda: policies_of([("a.yaml", good), ("b.yaml", "[1]"), ("c.yaml", good), ("d.yaml", "a: {")]))
    assert all(source in said for source in ("b.yaml", "c.yaml: metadata.name", "a.yaml", "d.yaml"))
    assert set(policies_of([("a.yaml", good)])) == {"default"}


def test_a_plan_without_policies_is_what_it_was() -> None:
    """Nobody has to have policies."""
    plan = content(steps=[{"weight": 50}])
    assert plan_of(plan) == plan_of(plan, policies={}) == Plan.model_validate(plan)
