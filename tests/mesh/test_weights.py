"""Weights: what they amount to, and the patch that changes them and nothing else."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canaryd.errors import Conflict, Rejected
from canaryd.lab.kubernetes.status import ApiError
from canaryd.mesh.entries import annotations_of
from canaryd.mesh.weights import (
    Guard,
    marker_key,
    origin_key,
    release_patch,
    restore_patch,
    split_of,
    weight_patch,
    weights_for,
)
from canaryd.model.traffic import EVERYTHING, NOTHING, WHOLE, Entry, Marker, Route, Split, Version
from tests.mesh.objects import ROUTE, V1, V2, V3, applied, at, destination, entry, marker, virtual_service

Object = dict[str, Any]
SPLITS = st.integers(0, WHOLE).map(Split)
WEIGHTS = st.integers(0, 2**30)


def written(found: Object, split: Split, guard: Guard = Guard.OBJECT, route: Route = ROUTE) -> Object:
    """The object after the patch for ``split``."""
    intent = Marker("run-1", 1, split, NOTHING, route.stable, route.canary, 0.0)
    return applied(found, weight_patch(found, route, intent, guard))


def released(found: Object, route: Route = ROUTE) -> Object:
    for patch in (restore_patch, release_patch):
        found = applied(found, patch(found, route, "run-1"))
    return found


def weights(found: Object, index: int = 0) -> list[int | None]:
    return [one.get("weight") for one in found["spec"]["http"][index]["route"]]


# -- what weights amount to


@pytest.mark.parametrize(
    ("found", "split"),
    [
        (at(100, 0), NOTHING),
        (at(0, 100), EVERYTHING),
        (at(50, 50), Split.percent(50)),
        (at(995, 5), Split.percent("0.5")),
        (at(1000, 50), Split.of_weights(50, 1050)),
        (virtual_service(entry(destination(V1))), NOTHING),
        (virtual_service(entry(destination(V1, 0))), NOTHING),
        (virtual_service(entry(destination(V3, 0))), EVERYTHING),
        (virtual_service(entry(destination(V1, 7), destination(V3))), NOTHING),
        (virtual_service(entry(destination(V1, 90), destination(V3, 10), destination(V2, 0))), Split.percent(10)),
    ],
)
def test_a_split_is_the_canarys_part_of_the_sum(found: Object, split: Split) -> None:
    """Weights need not sum to 100, a missing one is 0, and a single destination has everything whatever it says."""
    assert split_of(found, ROUTE).split == split


def test_a_single_canary_with_weight_zero_is_no_rollback() -> None:
    """It still gets all the traffic: a rollback reported from the weight alone would be a lie."""
    sighting = split_of(virtual_service(entry(destination(V3, 0))), ROUTE)
    assert sighting.split == EVERYTHING
    assert sighting.stable_missing


def test_a_sliver_is_neither_nothing_nor_everything() -> None:
    """Rounded to 0 it would pass for a rollback although the canary still gets requests."""
    assert split_of(at(2**30, 1), ROUTE).split == Split(1)
    assert split_of(at(1, 2**30), ROUTE).split == Split(WHOLE - 1)


def test_traffic_to_a_third_version_is_no_split_of_ours() -> None:
    """25 of 75 is not what the canary has when a third one shares."""
    sighting = split_of(virtual_service(entry(destination(V1, 50), destination(V3, 25), destination(V2, 25))), ROUTE)
    assert sighting.split is None
    assert "reviews v2" in sighting.why


def test_a_canary_without_traffic_is_a_split_of_zero_beside_a_third_version() -> None:
    """Else no rollback could ever be seen to have arrived after somebody added a destination."""
    found = virtual_service(entry(destination(V1, 75), destination(V3, 0), destination(V2, 25)))
    assert split_of(found, ROUTE).split == NOTHING


def test_entries_that_disagree_are_no_split() -> None:
    """Half of the entries shifted is neither before nor after."""
    route = Route("default", "reviews", "reviews", (Entry(0, "a"), Entry(1, "b")), V1, V3)
    found = virtual_service(
        entry(destination(V1, 95), destination(V3, 5), name="a"), entry(destination(V1, 100), name="b")
    )
    sighting = split_of(found, route)
    assert sighting.split is None
    assert "disagree" in sighting.why


@pytest.mark.parametrize(
    "host", ["reviews", "reviews.default", "reviews.default.svc", "reviews.default.svc.cluster.local"]
)
def test_hosts_are_compared_fully_qualified(host: str) -> None:
    """All four mean one service when an object in its namespace says them."""
    found = virtual_service(entry(destination(Version(host, "v1"), 95), destination(Version(host, "v3"), 5)))
    assert split_of(found, ROUTE).split == Split.percent(5)


def test_hosts_in_other_namespaces_are_others() -> None:
    """Cut at the first dot, api.a and api.b would be one host and get each other's traffic."""
    route = Route("default", "reviews", "reviews", (Entry(0),), Version("api.a"), Version("api.b"))
    found = virtual_service(entry(destination(Version("api.a"), 90), destination(Version("api.b"), 10)))
    assert split_of(found, route).split == Split.percent(10)
    assert split_of(virtual_service(entry(destination(Version("api.c"), 1))), route).split is None


def test_an_unnamed_entry_is_found_again_after_somebody_put_one_in_front() -> None:
    """A header entry for one tester, put before ours in mid-run, must not pass for ours: it has 100 % at the canary."""
    found = at(75, 25)
    found["spec"]["http"].insert(0, entry(destination(V3), match=[{"headers": {"end-user": {"exact": "jason"}}}]))
    assert split_of(found, ROUTE).split == Split.percent(25)
    assert weights(written(found, NOTHING, Guard.DESTINATIONS), 1) == [100, 0]


# -- the patch


@given(split=SPLITS, stable=WEIGHTS, canary=WEIGHTS)
@settings(deadline=None)
def test_what_was_written_is_what_is_read(split: Split, stable: int, canary: int) -> None:
    """A split that came back rounded would be drift for ever."""
    assert split_of(written(at(stable, canary), split), ROUTE).split == split


@given(split=SPLITS, total=st.integers(0, 2**31 - 1))
@settings(deadline=None)
def test_weights_are_exact_and_istio_accepts_them(split: Split, total: int) -> None:
    """Istio rejects a sum of zero and one that wraps int32."""
    stable, canary = weights_for(split, total)
    assert min(stable, canary) >= 0
    assert 0 < stable + canary < 2**31
    assert canary * WHOLE == split.canary * (stable + canary)


def test_the_own_sum_is_kept_where_the_split_is_exact_in_it() -> None:
    """Whoever counts to 100, or to 1050, finds his numbers again; half a percent of 100 needs a larger sum."""
    assert weights(written(at(100, 0), Split.percent(5))) == [95, 5]
    assert weights(written(at(1050, 0), Split.percent(10))) == [945, 105]
    half = written(at(100, 0), Split.percent("0.5"))
    assert weights(half) == [995, 5]
    assert weights(written(half, Split.percent(5))) == [95, 5]


@given(split=SPLITS, stable=st.integers(1, 2**30), untouched=st.booleans())
@settings(deadline=None)
def test_a_rollback_restores_the_numbers_it_began_with(split: Split, stable: int, untouched: bool) -> None:
    """A person who compares the object with Git wants to see no difference."""
    start = at(stable, 0)
    shifted = start if untouched else written(start, split)
    back = written(shifted, NOTHING, Guard.DESTINATIONS)
    assert weights(back) == [stable, 0]
    assert back["spec"] == start["spec"]


def test_a_missing_canary_is_inserted_at_its_weight_and_taken_out_again() -> None:
    """The object of the seed's first day has only v1; afterwards it is as it was."""
    start = virtual_service(entry(destination(V1, port={"number": 9080})))
    shifted = written(start, Split.percent(5))
    assert shifted["spec"]["http"][0]["route"] == [
        destination(V1, 95, port={"number": 9080}),
        destination(V3, 5, port={"number": 9080}),
    ]
    back = written(shifted, NOTHING, Guard.DESTINATIONS)
    assert weights(back) == [100, 0]
    assert released(back)["spec"] == start["spec"]


def test_an_inserted_canary_that_was_promoted_stays() -> None:
    """Taking it out would roll the release back by tidying up."""
    promoted = written(written(virtual_service(entry(destination(V1))), Split.percent(5)), EVERYTHING)
    assert split_of(released(promoted), ROUTE).split == EVERYTHING


def test_an_inserted_canary_with_traffic_stays() -> None:
    """A run that was left in flight: its users are there now."""
    shifted = written(virtual_service(entry(destination(V1))), Split.percent(25))
    assert weights(released(shifted)) == [75, 25]


def test_a_weight_that_was_left_out_is_left_out_again() -> None:
    """Git says nothing about it, and a GitOps tool would show a difference."""
    start = virtual_service(entry(destination(V1, 100), destination(V3)))
    assert released(written(written(start, Split.percent(5)), NOTHING))["spec"] == start["spec"]


def test_release_takes_out_only_the_own_runs_marker() -> None:
    """Another run may have begun since; its marker is its claim."""
    found = written(at(100, 0), Split.percent(5))
    assert release_patch(found, ROUTE, "run-2") == []
    assert restore_patch(found, ROUTE, "run-2") == []
    assert annotations_of(released(found)) == {}


def test_several_entries_move_in_one_patch() -> None:
    """Between two patches users would see different versions on different paths of one page."""
    route = Route("default", "reviews", "reviews", (Entry(0, "a"), Entry(2, "c")), V1, V3)
    found = virtual_service(
        entry(destination(V1, 100), destination(V3, 0), name="a"),
        entry(destination(V2), name="b"),
        entry(destination(V1), name="c"),
    )
    shifted = written(found, Split.percent(25), route=route)
    assert [weights(shifted, index) for index in range(3)] == [[75, 25], [None], [75, 25]]


def test_a_retreat_moves_what_it_can() -> None:
    """One entry that lost its stable destination must not keep the others at the canary."""
    route = Route("default", "reviews", "reviews", (Entry(0, "a"), Entry(1, "b")), V1, V3)
    found = virtual_service(entry(destination(V3), name="a"), entry(destination(V1, 75), destination(V3, 25), name="b"))
    back = written(found, NOTHING, Guard.DESTINATIONS, route)
    assert weights(back, 1) == [100, 0]
    assert split_of(back, route).split is None
    assert split_of(back, route).stable_missing


def test_a_retreat_leaves_other_destinations_their_weights() -> None:
    """They are somebody else's; the canary's share goes to stable."""
    found = virtual_service(entry(destination(V1, 50), destination(V3, 25), destination(V2, 25)))
    assert weights(written(found, NOTHING, Guard.DESTINATIONS)) == [75, 0, 25]


def test_a_retreat_to_a_lower_step_stops_there() -> None:
    """Drift above what the plan allows is brought down to what it allows, not to zero."""
    assert weights(written(at(20, 80), Split.percent(25), Guard.DESTINATIONS)) == [75, 25]
    crowded = virtual_service(entry(destination(V1, 10), destination(V3, 60), destination(V2, 30)))
    assert weights(written(crowded, Split.percent(25), Guard.DESTINATIONS)) == [45, 25, 30]


def test_a_retreat_without_stable_is_refused() -> None:
    """The weight alone would change nothing; a person has to add the destination."""
    with pytest.raises(Rejected, match="no destination v1"):
        written(virtual_service(entry(destination(V3, 100))), NOTHING, Guard.DESTINATIONS)


def test_a_retreat_where_nothing_is_ours_is_a_conflict() -> None:
    """The engine reads again: the object may be in the middle of an edit."""
    with pytest.raises(Conflict):
        written(virtual_service(entry(destination(V2, 100))), NOTHING, Guard.DESTINATIONS)


def test_no_shift_beside_a_third_version() -> None:
    """Its share would be no longer what its owner wrote."""
    found = virtual_service(entry(destination(V1, 50), destination(V3, 25), destination(V2, 25)))
    with pytest.raises(Rejected, match="reviews v2"):
        written(found, Split.percent(50))


# -- guards


def test_toward_canary_nothing_may_have_changed() -> None:
    """The resourceVersion is tested, and so are destinations and weights, for a reader of the audit log."""
    paths = [one["path"] for one in weight_patch(at(100, 0), ROUTE, marker(5), Guard.OBJECT) if one["op"] == "test"]
    assert "/metadata/resourceVersion" in paths
    assert "/spec/http/0/route/1/destination/subset" in paths
    assert "/spec/http/0/route/0/weight" in paths


def test_a_retreat_is_never_guarded_by_what_others_may_change() -> None:
    """A busy writer that changes the object every second would block it for ever."""
    shifted = written(at(100, 0), Split.percent(25))
    patch = weight_patch(shifted, ROUTE, marker(0, seq=2), Guard.DESTINATIONS)
    tests = [one["path"] for one in patch if one["op"] == "test"]
    assert "/metadata/resourceVersion" not in tests
    assert not any(path.endswith("/weight") for path in tests)
    assert "/metadata/annotations/marker.canaryd.io~1reviews" in tests
    busy = copy.deepcopy(shifted)
    busy["metadata"]["resourceVersion"] = "99"
    busy["metadata"]["labels"] = {"touched": "yes"}
    busy["spec"]["http"][0]["timeout"] = "3s"
    busy["spec"]["http"][0]["route"][1]["weight"] = 60
    after = applied(busy, patch)
    assert weights(after) == [100, 0]
    assert after["spec"]["http"][0]["timeout"] == "3s"


@pytest.mark.parametrize(
    "edit",
    [
        lambda route: route.reverse(),
        lambda route: route[1]["destination"].update(subset="v2"),
        lambda route: route[0]["destination"].update(host="ratings"),
        lambda route: route.pop(1),
    ],
)
@pytest.mark.parametrize("guard", list(Guard))
def test_no_weight_is_written_to_another_destination(guard: Guard, edit: Any) -> None:
    """Between our reading and our patch the list may have been turned round: index 1 would then be stable."""
    found = at(75, 25)
    patch = weight_patch(found, ROUTE, marker(0, seq=2), guard)
    edited = copy.deepcopy(found)
    edit(edited["spec"]["http"][0]["route"])
    with pytest.raises(ApiError):
        applied(edited, patch)


def test_a_whole_host_is_told_from_a_subset_of_it() -> None:
    """A version without subset is the whole destination: a subset added since makes it another one."""
    route = Route("default", "reviews", "reviews", (Entry(0),), Version("reviews-v1"), Version("reviews-v3"))
    found = virtual_service(entry(destination(route.stable, 50), destination(route.canary, 50)))
    patch = weight_patch(found, route, marker(0), Guard.DESTINATIONS)
    found["spec"]["http"][0]["route"][1]["destination"]["subset"] = "v2"
    with pytest.raises(ApiError):
        applied(found, patch)


# -- marker


def test_the_marker_goes_with_the_weights() -> None:
    """One operation: weights without their marker would be drift, a marker without them a lie."""
    wanted = marker(5, seq=3)
    after = applied(at(100, 0), weight_patch(at(100, 0), ROUTE, wanted, Guard.OBJECT))
    assert Marker.parse(annotations_of(after)[marker_key("reviews")]) == wanted
    assert split_of(after, ROUTE).marker == wanted


@given(notes=st.dictionaries(st.text(min_size=1), st.text(), max_size=4), split=SPLITS)
@settings(max_examples=50, deadline=None)
def test_other_annotations_survive(notes: dict[str, str], split: Split) -> None:
    """They belong to others, whatever is in their names."""
    found = at(100, 0)
    found["metadata"]["annotations"] = notes
    after = annotations_of(written(found, split))
    assert {
        key: value for key, value in after.items() if key not in (marker_key("reviews"), origin_key("reviews"))
    } == {key: value for key, value in notes.items() if key not in (marker_key("reviews"), origin_key("reviews"))}


def test_a_retreat_overwrites_no_annotations_that_came_meanwhile() -> None:
    """It creates the map for its marker; somebody else may have done so between our reading and our patch."""
    found = at(75, 25)
    patch = weight_patch(found, ROUTE, marker(0), Guard.DESTINATIONS)
    assert weights(applied(found, patch)) == [100, 0]
    found["metadata"]["annotations"] = {"note": "mine"}
    with pytest.raises(ApiError):
        applied(found, patch)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"run": 1}', "\x00", '{"http[0]": {"stable": "x"}}'])
def test_an_annotation_that_is_not_ours_stops_nothing(text: str) -> None:
    """Somebody may write anything there; a rollback must still work, and the sighting says what was found."""
    found = at(75, 25)
    found["metadata"]["annotations"] = {marker_key("reviews"): text, origin_key("reviews"): text}
    sighting = split_of(found, ROUTE)
    assert sighting.split == Split.percent(25)
    assert sighting.marker is None
    assert marker_key("reviews") in sighting.why
    assert weights(written(found, NOTHING, Guard.DESTINATIONS)) == [100, 0]


def test_a_patch_does_not_change_the_object_it_was_made_from() -> None:
    """Pure: the caller may compare before and after."""
    found = at(100, 0)
    before = copy.deepcopy(found)
    weight_patch(found, ROUTE, marker(5), Guard.OBJECT)
    assert found == before


TWO_ENTRIES = Route("default", "reviews", "reviews", (Entry(0), Entry(1)), V1, V3)


def disagreeing(first: int, second: int) -> Object:
    """Two managed entries that give the canary so many percent."""
    return virtual_service(*(entry(destination(V1, 100 - part), destination(V3, part)) for part in (first, second)))


def test_the_highest_share_is_known_where_entries_disagree() -> None:
    """Somebody raised one entry of two: there is no split, and still the canary has too much."""
    seen = split_of(disagreeing(5, 60), TWO_ENTRIES)
    assert (seen.split, seen.highest, seen.most) == (None, Split.percent(60), Split.percent(60))


def test_a_bring_down_raises_no_entry() -> None:
    """Another entry was taken to 0 % by a hand: that is toward stable, and respected."""
    after = written(disagreeing(0, 60), Split.percent(25), Guard.DESTINATIONS, TWO_ENTRIES)
    assert [weights(after, 0), weights(after, 1)] == [[100, 0], [75, 25]]
