"""Entries in front: what is put there, what it takes along, and that it goes whatever else has changed."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from canaryd.errors import Conflict, Rejected
from canaryd.lab.kubernetes.status import ApiError
from canaryd.mesh.matching import in_front, name_for
from canaryd.mesh.orphans import decided, orphan_of
from canaryd.mesh.weights import Guard, marker_key, release_patch, restore_patch, split_of, weight_patch
from canaryd.model.traffic import NOTHING, OTHERWISE, Entry, Marker, Route, Split
from tests.mesh.objects import ROUTE, V1, V2, V3, applied, at, destination, entry, virtual_service

Object = dict[str, Any]
JASON = json.dumps([{"end-user": {"exact": "jason"}}], separators=(",", ":"))
TWO = json.dumps([{"a": {"exact": "1"}}, {"cookie": {"regex": "b=2"}}], separators=(",", ":"))
FIVE = Split.percent(5)


def marker(match: str, split: Split = NOTHING, seq: int = 1, route: Route = ROUTE) -> Marker:
    return Marker("run-1", seq, split, NOTHING, route.stable, route.canary, 0.0, match)


def advanced(found: Object, match: str, split: Split = NOTHING, route: Route = ROUTE) -> Object:
    return applied(found, weight_patch(found, route, marker(match, split, route=route), Guard.OBJECT))


def retreated(found: Object, match: str = "", split: Split = NOTHING, route: Route = ROUTE) -> Object:
    return applied(found, weight_patch(found, route, marker(match, split, 9, route), Guard.DESTINATIONS))


def http(found: Object) -> list[Object]:
    return found["spec"]["http"]


def test_an_entry_stands_in_front_and_takes_along_what_the_users_says() -> None:
    before = virtual_service(
        entry(
            destination(V1),
            name="reviews",
            match=[{"uri": {"prefix": "/reviews"}, "name": "all"}, {"headers": {"x": {"exact": "y"}}, "port": 80}],
            timeout="3s",
            retries={"attempts": 2},
            rewrite={"uri": "/"},
            headers={"request": {"set": {"a": "b"}}},
        )
    )
    route = replace(ROUTE, entries=(Entry(0, "reviews"),))
    after = advanced(before, TWO, route=route)
    ours, users = http(after)
    assert users == http(before)[0] | {"route": http(after)[1]["route"]}
    assert {key: ours[key] for key in ("timeout", "retries", "rewrite", "headers")} == {
        key: http(before)[0][key] for key in ("timeout", "retries", "rewrite", "headers")
    }
    assert ours["route"] == [{"destination": {"host": V3.host, "subset": V3.subset}}]
    assert ours["match"] == [
        {"uri": {"prefix": "/reviews"}, "headers": {"a": {"exact": "1"}}},
        {"uri": {"prefix": "/reviews"}, "headers": {"cookie": {"regex": "b=2"}}},
        {"headers": {"x": {"exact": "y"}, "a": {"exact": "1"}}, "port": 80},
        {"headers": {"x": {"exact": "y"}, "cookie": {"regex": "b=2"}}, "port": 80},
    ]
    seen = split_of(after, route)
    assert (seen.split, seen.match) == (NOTHING, TWO)


def test_each_entry_that_moves_gets_one_where_it_stands() -> None:
    """Before its own entry, so that what the user put in front of that keeps going first."""
    before = virtual_service(
        entry(destination(V2), name="first", match=[{"uri": {"exact": "/first"}}]),
        entry(destination(V1, 100), destination(V3, 0), name="a", match=[{"uri": {"prefix": "/a"}}]),
        entry(destination(V1, 100), destination(V3, 0), name="b"),
    )
    route = replace(ROUTE, entries=(Entry(1, "a"), Entry(2, "b")))
    after = advanced(before, JASON, route=route)
    names = [one["name"] for one in http(after)]
    assert names == ["first", name_for(route.plan, Entry(1, "a")), "a", name_for(route.plan, Entry(2, "b")), "b"]
    assert split_of(after, route).match == JASON
    assert http(advanced(after, "", FIVE, route))[1]["route"][1]["weight"] == 5
    assert [one["name"] for one in http(advanced(after, "", FIVE, route))] == ["first", "a", "b"]


def test_an_entry_without_a_name_is_found_behind_ours() -> None:
    """Its place is counted without what we put there: else the run would lose it by its own doing."""
    before = virtual_service(entry(destination(V2), match=[{"uri": {"exact": "/x"}}]), entry(destination(V1)))
    route = replace(ROUTE, entries=(Entry(1),))
    after = advanced(before, JASON, route=route)
    assert [len(one["route"]) for one in http(after)] == [1, 1, 2]
    weighed = advanced(after, "", FIVE, route)
    assert split_of(weighed, route).split == FIVE
    assert [one["weight"] for one in http(weighed)[1]["route"]] == [95, 5]
    found = orphan_of(after, marker_key(route.plan))
    assert found is not None
    assert found[0].entries == (Entry(1),)


def test_a_retreat_takes_it_out_and_everything_is_as_before() -> None:
    before = virtual_service(entry(destination(V1), timeout="3s"), annotations={"team": "reviews"})
    after = retreated(advanced(before, JASON))
    for patch in (restore_patch, release_patch):
        after = applied(after, patch(after, ROUTE, "run-1"))
    assert after["spec"] == before["spec"]
    assert after["metadata"]["annotations"] == before["metadata"]["annotations"]


def test_a_retreat_takes_it_out_although_everything_else_has_changed() -> None:
    """Whoever took the user's entry away, or put others in front, must not keep people at the canary."""
    found = advanced(at(100, 0), JASON)
    gone = copy.deepcopy(found)
    gone["spec"]["http"] = [http(found)[0], entry(destination(V2))]
    assert [one.name for one in in_front(retreated(gone), ROUTE)] == []
    more = copy.deepcopy(found)
    more["spec"]["http"].insert(0, entry(destination(V2), match=[{"uri": {"exact": "/x"}}]))
    after = retreated(more)
    assert in_front(after, ROUTE) == ()
    assert len(http(after)) == 2


def test_a_retreat_meets_what_it_read_or_nothing() -> None:
    """An entry that was put in front after the read moves ours: the patch must not take out another."""
    found = advanced(at(100, 0), JASON)
    found["spec"]["http"][1:] = [entry(destination(V2))]  # ours is all that is left of the run
    patch = weight_patch(found, ROUTE, marker("", seq=9), Guard.DESTINATIONS)
    found["spec"]["http"].insert(0, entry(destination(V2), match=[{"uri": {"exact": "/x"}}]))
    with pytest.raises(ApiError):
        applied(found, patch)


def test_a_retreat_may_leave_the_audience_that_the_step_has() -> None:
    """Somebody gave the canary 50 % while only matched people should meet it: those still do."""
    found = advanced(at(100, 0), JASON)
    http(found)[1]["route"] = [destination(V1, 50), destination(V3, 50)]
    after = retreated(found, JASON)
    assert (split_of(after, ROUTE).split, split_of(after, ROUTE).match) == (NOTHING, JASON)


@pytest.mark.parametrize("what", ["match", "route", "twice", "behind"])
def test_an_entry_of_ours_that_somebody_changed_is_seen(what: str) -> None:
    found = advanced(at(100, 0), JASON)
    entries = http(found)
    if what == "match":
        entries[0]["match"] = [{"headers": {"end-user": {"prefix": ""}}}]
    elif what == "route":
        entries[0]["route"] = [destination(V2)]
    elif what == "twice":
        entries.insert(0, copy.deepcopy(entries[0]))
    else:
        entries.reverse()
    assert split_of(found, ROUTE).match == OTHERWISE
    assert split_of(advanced(found, JASON), ROUTE).match == JASON  # a person's resume writes it anew
    assert in_front(retreated(found), ROUTE) == ()


def test_a_timeout_that_somebody_edits_in_ours_is_none_of_our_business() -> None:
    found = advanced(at(100, 0), JASON)
    http(found)[0]["timeout"] = "9s"
    assert split_of(found, ROUTE).match == JASON


def test_entries_of_ours_without_a_marker_are_not_taken_for_nothing() -> None:
    found = advanced(at(100, 0), JASON)
    found["metadata"]["annotations"].pop(marker_key(ROUTE.plan))
    assert split_of(found, ROUTE).match == OTHERWISE
    assert "had inserted" in decided(found, ROUTE, NOTHING)


@pytest.mark.parametrize("other", ["other", f"{ROUTE.plan}-next", f"{ROUTE.plan}-0"])
def test_another_plans_entries_are_left_alone(other: str) -> None:
    """Also those of one whose name begins as ours."""
    found = advanced(at(100, 0), JASON)
    theirs = copy.deepcopy(http(found)[0]) | {"name": name_for(other, Entry(0))}
    http(found).insert(0, theirs)
    assert split_of(found, ROUTE).match == JASON
    assert http(retreated(found))[0] == theirs


def test_an_entry_that_asks_for_the_same_header_otherwise_is_refused() -> None:
    found = virtual_service(entry(destination(V1), match=[{"headers": {"end-user": {"exact": "anna"}}}]))
    with pytest.raises(Rejected, match="asks for end-user itself"):
        advanced(found, JASON)


def test_with_every_entry_gone_there_is_nothing_to_retreat_from() -> None:
    found = advanced(at(100, 0), JASON)
    found["spec"]["http"] = [entry(destination(V2))]
    with pytest.raises(Conflict):
        retreated(found)


def test_a_marker_without_an_audience_reads_as_markers_always_did() -> None:
    assert "match" not in marker("").dump()
    assert Marker.parse(marker("").dump()) == marker("")
    assert Marker.parse(marker(JASON).dump()) == marker(JASON)
    with pytest.raises(ValueError, match="not a marker"):
        Marker.parse(marker(JASON).dump().replace(json.dumps(JASON), "[]"))
