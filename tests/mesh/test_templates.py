"""What two Deployments run, and in what they differ."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from canaryd.mesh.slim import slim_deployment
from canaryd.mesh.templates import essence, unlike
from canaryd.model.traffic import Difference
from tests.mesh.objects import deployment

Object = dict[str, Any]


def running(version: str, image: str = "reviews:3", **spec: Any) -> Object:
    """A Deployment of that version with one container."""
    found = deployment(version)
    env = [{"name": "LEVEL", "value": "info"}, {"name": "TOKEN", "value": "s3cret"}]
    container = {"name": "reviews", "image": image, "env": env, "ports": [{"containerPort": 9080}]}
    found["spec"]["template"]["spec"] = {
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
        **spec,
    }
    return found


def container(found: Object) -> Object:
    return found["spec"]["template"]["spec"]["containers"][0]  # type: ignore[no-any-return]  # of the object above


def words(stable: Object, canary: Object) -> list[str]:
    return [one.words for one in unlike([stable], [canary])]


def test_versions_that_differ_by_labels_and_name_run_the_same() -> None:
    """That is how the two are told apart, and nothing else."""
    assert unlike([running("v1")], [running("v3")]) == ()


def test_another_image_is_told_with_both() -> None:
    assert words(running("v1", "reviews:2"), running("v3")) == ["containers.reviews.image is reviews:2, not reviews:3"]


@pytest.mark.parametrize(
    ("stable", "canary", "alike"),
    [
        ("reviews:3@sha256:aa", "reviews@sha256:aa", True),
        ("mirror/reviews@sha256:aa", "reviews@sha256:aa", True),
        ("reviews:3@sha256:bb", "reviews:3@sha256:aa", False),
        ("reviews:3", "reviews:3@sha256:aa", False),
        ("reviews:latest", "reviews:latest", True),
    ],
)
def test_a_digest_says_what_an_image_is(stable: str, canary: str, alike: bool) -> None:
    """Where both have one; a tag that moves is the same text."""
    assert (words(running("v1", stable), running("v3", canary)) == []) is alike


def test_values_are_never_told() -> None:
    """An env may hold a secret, and the sentence goes into Events and messages."""
    changed = running("v1")
    container(changed)["env"][1]["value"] = "0ther"
    assert words(changed, running("v3")) == ["containers.reviews.env.TOKEN.value differs"]


def test_what_only_one_side_has_is_said() -> None:
    here, there = running("v1"), running("v3")
    del container(here)["env"][0]
    container(there)["args"] = ["--fast"]
    assert words(here, there) == [
        "containers.reviews.args.0 is not there",
        "containers.reviews.env.LEVEL.value is not there",
    ]
    assert words(there, here) == [
        "containers.reviews.args.0 is only there",
        "containers.reviews.env.LEVEL.value is only there",
    ]


def test_the_order_of_named_things_says_nothing() -> None:
    changed = running("v1")
    container(changed)["env"].reverse()
    assert words(changed, running("v3")) == []


def test_where_pods_run_is_not_what_they_run() -> None:
    """Anti-affinity by the label version differs on purpose."""
    placed = running("v1", affinity={"podAntiAffinity": {}}, nodeSelector={"pool": "a"}, tolerations=[{"key": "a"}])
    assert words(placed, running("v3")) == []
    assert words(running("v1", serviceAccountName="other"), running("v3")) == ["serviceAccountName is only there"]


def test_a_checksum_of_helms_counts_and_no_other_annotation() -> None:
    """A ConfigMap that has changed is not the same release; a restart is."""
    here, there = running("v1"), running("v3")
    here["spec"]["template"]["metadata"]["annotations"] = {
        "checksum/config": "aa",
        "kubectl.kubernetes.io/restartedAt": "now",
    }
    there["spec"]["template"]["metadata"]["annotations"] = {"checksum/config": "bb"}
    assert words(here, there) == ["annotations.checksum/config differs"]


def test_images_are_told_first() -> None:
    changed = running("v1", "reviews:2", activeDeadlineSeconds=5)
    assert words(changed, running("v3"))[0] == "containers.reviews.image is reviews:2, not reviews:3"


def test_of_several_each_has_to_be_like_one() -> None:
    """A side of two Deployments, one of which was forgotten."""
    fresh, late = running("v1"), running("v1", "reviews:2")
    assert unlike([fresh, fresh], [running("v3")]) == ()
    assert len(unlike([fresh, late], [running("v3")])) == 1
    assert len(unlike([fresh], [running("v3"), running("v3", "reviews:4")])) == 1


def test_nothing_to_compare_is_not_the_same() -> None:
    assert "behind stable" in unlike([], [running("v3")])[0].words
    assert "behind the canary" in unlike([running("v1")], [])[0].words


def test_what_is_kept_in_memory_says_the_same() -> None:
    """And keeps no value."""
    found = running("v1")
    slim = slim_deployment(copy.deepcopy(found))
    assert essence(slim) == essence(found)
    assert "s3cret" not in repr(slim)
    assert words(slim, running("v3", "reviews:4")) == words(found, running("v3", "reviews:4")) != []


def test_a_path_has_all_below_it_and_nothing_beside() -> None:
    found = Difference("containers.reviews.env.ROLE.value", "")
    assert found.within(["containers.reviews.env"])
    assert found.within(["containers.reviews.env.ROLE.value"])
    assert not found.within(["containers.reviews.en", "containers.reviews.env.ROL"])
