"""What can be done from the object alone, when the run is lost."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from canaryd.mesh.entries import annotations_of
from canaryd.mesh.orphans import break_glass, decided, orphan_of
from canaryd.mesh.weights import Guard, marker_key, origin_key, release_patch, restore_patch, split_of, weight_patch
from canaryd.model.traffic import EVERYTHING, NOTHING, Entry, Marker, Route, Split, Version
from tests.mesh.objects import ROUTE, V1, V2, V3, applied, at, destination, entry, marker, virtual_service

Object = dict[str, Any]
KEY = marker_key("reviews")


def shifted(found: Object, split: float = 25, route: Route = ROUTE) -> Object:
    intent = Marker("run-1", 1, Split.percent(split), NOTHING, route.stable, route.canary, 5.0, born=7.0)
    return applied(found, weight_patch(found, route, intent, Guard.OBJECT))


def rolled_back(found: Object, key: str = KEY) -> Object:
    """Back to stable and released, with what the object itself says."""
    orphan = orphan_of(found, key)
    assert orphan is not None
    route, left = orphan
    down = Marker(left.run, left.seq + 1, NOTHING, left.split, left.stable, left.canary, 9.0, born=left.born)
    found = applied(found, weight_patch(found, route, down, Guard.DESTINATIONS))
    for patch in (restore_patch, release_patch):
        found = applied(found, patch(found, route, left.run))
    return found


@pytest.mark.parametrize(
    "found",
    [
        at(100, 0),
        at(3, 0),
        virtual_service(entry(destination(V1))),
        virtual_service(entry(destination(V1, 100), destination(V3, 0), name="main")),
        virtual_service(entry(destination(V2)), entry(destination(V1, 100), destination(V3, 0))),
    ],
)
def test_an_orphan_is_rolled_back_from_its_own_content(found: Object) -> None:
    """The run and its plan are gone; the object is what it was before the run."""
    entries = found["spec"]["http"]
    route = Route("default", "reviews", "reviews", (Entry(len(entries) - 1, entries[-1].get("name", "")),), V1, V3)
    lost = shifted(found, route=route)
    assert split_of(lost, route).split == Split.percent(25)
    assert orphan_of(lost, KEY) == (route, Marker.parse(annotations_of(lost)[KEY]))
    assert rolled_back(lost)["spec"] == found["spec"]


def test_two_entries_are_both_rolled_back() -> None:
    """Whatever the order of their names in the annotation."""
    found = virtual_service(
        entry(destination(V1, 100), destination(V3, 0), name="z"),
        entry(destination(V1, 100), destination(V3, 0), name="a"),
        entry(destination(V1, 50), destination(V3, 50)),
    )
    route = Route("default", "reviews", "reviews", (Entry(0, "z"), Entry(1, "a")), V1, V3)
    lost = shifted(found, route=route)
    assert orphan_of(lost, KEY) is not None
    assert orphan_of(lost, KEY)[0] == route  # type: ignore[index]  # the line above
    assert rolled_back(lost)["spec"] == found["spec"]


def test_an_entry_that_moved_is_found_by_its_name() -> None:
    """Somebody put another in front meanwhile."""
    route = Route("default", "reviews", "reviews", (Entry(0, "main"),), V1, V3)
    lost = shifted(virtual_service(entry(destination(V1, 100), destination(V3, 0), name="main")), route=route)
    lost["spec"]["http"].insert(0, entry(destination(V3, 1), destination(V1, 1), name="first"))
    back = rolled_back(lost)
    assert [one["weight"] for one in back["spec"]["http"][0]["route"]] == [1, 1]
    assert [one["weight"] for one in back["spec"]["http"][1]["route"]] == [100, 0]


def test_without_its_memory_only_what_has_its_split_is_its() -> None:
    """Weights that somebody else gave the same two versions elsewhere are not ours to take."""
    found = virtual_service(
        entry(destination(V1, 60), destination(V3, 40)), entry(destination(V1, 100), destination(V3, 0))
    )
    lost = shifted(found, route=Route("default", "reviews", "reviews", (Entry(1),), V1, V3))
    lost["metadata"]["annotations"].pop(origin_key("reviews"))
    orphan = orphan_of(lost, KEY)
    assert orphan is not None
    assert orphan[0].entries == (Entry(1),)


@pytest.mark.parametrize("text", ["", "{}", "[]", "7", '{"run": "x"}', '{"born": "yesterday"}'])
def test_what_cannot_be_read_is_no_orphan(text: str) -> None:
    """Nothing is guessed."""
    assert orphan_of(virtual_service(entry(destination(V1)), annotations={KEY: text}), KEY) is None


def test_other_annotations_are_no_orphans() -> None:
    """Also not our own memory of what was before."""
    lost = shifted(at(100, 0))
    assert orphan_of(lost, origin_key("reviews")) is None
    assert orphan_of(lost, marker_key("other")) is None
    assert orphan_of(lost, "marker.canaryd.io/") is None


def test_a_birth_that_is_no_number_is_no_marker() -> None:
    """It is compared with another one on the way to a rollback, where nothing may fail."""
    fields = json.loads(marker(5).dump()) | {"born": "yesterday"}
    with pytest.raises(ValueError, match="not a marker"):
        Marker.parse(json.dumps(fields))


def test_a_marker_of_before_births_is_read() -> None:
    """An upgrade in mid-run."""
    fields = json.loads(marker(5).dump())
    del fields["born"], fields["kept"]
    assert Marker.parse(json.dumps(fields)) == marker(5)


# -- by hand


def patch_in(command: str) -> list[Object]:
    words = shlex.split(command.split(" && ")[0])
    assert words[:6] == ["kubectl", "patch", "virtualservice", "reviews", "-n", "default"]
    return json.loads(words[words.index("-p") + 1])  # type: ignore[no-any-return]


def test_break_glass_is_a_patch_back_to_stable_and_takes_our_annotations_out() -> None:
    """A person pastes it while canaryd does not answer."""
    lost = shifted(at(100, 0))
    command = break_glass(lost, ROUTE)
    assert split_of(applied(lost, patch_in(command)), ROUTE).split == NOTHING
    annotate = shlex.split(command.split(" && ")[1])
    assert annotate[:2] == ["kubectl", "annotate"]
    assert set(annotate[-2:]) == {f"{KEY}-", f"{origin_key('reviews')}-"}
    assert "annotate" not in break_glass(at(100, 0), ROUTE)


def test_break_glass_survives_a_shell() -> None:
    """An entry's name is anybody's text."""
    name = "it's $(main)"
    found = virtual_service(entry(destination(V1, 60), destination(V3, 40), name=name))
    route = Route("default", "reviews", "reviews", (Entry(0, name),), V1, V3)
    assert split_of(applied(found, patch_in(break_glass(found, route))), route).split == NOTHING


def test_there_is_no_glass_to_break_without_stable() -> None:
    """Better no command than one that does nothing."""
    assert break_glass(virtual_service(entry(destination(V3))), ROUTE) == ""
    assert break_glass(virtual_service(entry(destination(V2))), ROUTE) == ""


# -- after the end


def test_weights_as_decided_are_as_decided() -> None:
    """Also where the other version was taken out, as Git does in the end."""
    assert decided(at(0, 100), ROUTE, EVERYTHING) == ""
    assert decided(virtual_service(entry(destination(V3))), ROUTE, EVERYTHING) == ""
    assert decided(at(100, 0), ROUTE, NOTHING) == ""
    assert decided(virtual_service(entry(destination(V1))), ROUTE, NOTHING) == ""


def test_weights_that_somebody_moved_are_told_with_both_figures() -> None:
    """Git put the old ones back."""
    assert decided(at(100, 0), ROUTE, EVERYTHING) == (
        "somebody set the canary v3 to 0 % in VirtualService default/reviews; 100 % was decided"
    )
    assert "no longer says a split" in decided(virtual_service(entry(destination(V2))), ROUTE, EVERYTHING)
    assert "25 %" in decided(at(75, 25), ROUTE, NOTHING)


def test_versions_that_are_hosts_of_their_own_come_back() -> None:
    """No subset, no DestinationRule."""
    stable, canary = Version("reviews-v1"), Version("reviews-v3")
    found = virtual_service(entry(destination(stable, 100), destination(canary, 0)))
    route = Route("default", "reviews", "reviews", (Entry(0),), stable, canary)
    assert rolled_back(shifted(found, route=route))["spec"] == found["spec"]
