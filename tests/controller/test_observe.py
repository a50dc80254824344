"""A controller that only observes: everything but patches."""

from __future__ import annotations

import json

from tests.controller.stage import Stage

SOON = {"hold": "1s", "then": "rollback"}
"""Nobody moves the traffic here, so that nothing can be proven."""


def test_nothing_is_written_to_the_virtual_service(stage: Stage) -> None:
    """And the journal, the Events and the status say what would have been."""
    before = stage.virtual_service()
    process = stage.controller(CANARYD_MODE="observe")
    stage.apply(onInconclusive=SOON)
    stage.until(lambda: bool(stage.records()) and stage.newest().final, "the end", process)
    stage.until(lambda: stage.is_so("Finished", stage.run_objects()[0]), "its status", process)
    assert stage.virtual_service() == before
    assert stage.api
    patched = [
        one for one in stage.api.requests if one.resource == "virtualservices" and one.verb in ("patch", "update")
    ]
    dry = [one for one in patched if one.code == 200]
    assert len(dry) <= 1, "more than the rehearsal"
    (journal,) = (stage.folder / "canaryd-0").rglob("journal.jsonl")
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    assert any(entry["events"] for entry in entries)
    stage.until(lambda: bool(stage.cluster.objects("Event")), "Events", process)
    told = " ".join(one["message"] for one in stage.cluster.objects("Event"))
    assert "would" in told, told
    assert "canaryd.io/settled" not in (stage.plan_object()["metadata"].get("annotations") or {})


def test_an_active_controller_releases_what_was_observed(stage: Stage) -> None:
    """Who only looked has settled nothing."""
    process = stage.controller(CANARYD_MODE="observe", CANARYD_LEASE_SECONDS="3")
    stage.apply(onInconclusive=SOON)
    stage.until(lambda: bool(stage.records()) and stage.newest().released, "the end", process)
    process.kill()
    process = stage.controller(name="canaryd-1")
    assert stage.is_so("Promoted", stage.ends(2, process))
    assert stage.weights() == (0, 100)
