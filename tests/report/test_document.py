"""The report as one value: what it says of runs of every kind."""

from __future__ import annotations

import json
import math
import re
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest

from canaryd.model.asking import Approval, Condition
from canaryd.model.cells import Cell, Gap
from canaryd.model.harm import Harmed
from canaryd.model.links import Link
from canaryd.report import account, decisions, document, series, summary
from canaryd.report.document import as_data
from canaryd.report.document import document as told_of
from canaryd.report.outlook import moment as clock
from canaryd.report.render import FORMS, render
from canaryd.store.objects import _thin
from tests.report import stories
from tests.report.real import NAMES, real
from tests.world import World, small_plan

PAGE = Path(__file__).parents[2] / "docs/report.md"


@pytest.mark.parametrize(
    ("story", "verdict"),
    [
        (stories.pending, "Nothing has been moved yet: v1 has all the traffic."),
        (stories.baking, "Nothing is decided yet: v3 has 25 % of the traffic, v1 has the rest."),
        (stories.gated, "Nothing is decided yet: v3 is held at 50 % of the traffic, v1 has the rest."),
        (stories.rolling_back, "v3 is being rolled back: v1 gets all the traffic back."),
    ],
)
def test_the_verdict_is_one_sentence_for_who_reads_no_more(story, verdict):
    assert told_of(*story()).verdict == verdict


def test_the_verdict_of_a_run_that_has_ended_says_what_it_cost():
    run, journal = stories.rolled_back()
    told = told_of(run, journal)
    figures = summary.summary(run)
    assert told.verdict.startswith("v3 failed and was rolled back. v1 has all the traffic again, ")
    assert told.verdict.endswith(f"{figures.canary.errors:,.0f} requests failed at the canary.")
    assert told_of(*stories.aborted()).verdict.startswith("v3 was rolled back because somebody said so. ")
    assert told_of(*stories.promoted()).verdict.endswith(
        ": it is proven to be no worse than v1; it has all the traffic."
    )


def test_a_promotion_without_proof_never_reads_as_a_proven_one():
    """It is marked for ever, also in the sentence that a manager reads."""
    run, journal = stories.promoted()
    told = told_of(replace(run, unproven="ada: the shop opens"), journal)
    assert "nobody has shown" in told.verdict
    assert "proven" not in told.verdict
    assert told.unproven == "ada: the shop opens"


def test_what_was_never_suspected_was_not_detected():
    """An abort of a healthy canary is no discovery; how long the way back took is told all the same."""
    healthy, faulty = render(*stories.aborted(), "md"), render(*stories.rolled_back(), "md")
    assert "| Rollback | rollback decided after" in healthy
    assert "| Detection | suspected after" in faulty


def test_harmed_is_what_failed_beyond_stables_rate():
    """Not every failure at the canary is the canary's."""
    run, journal = stories.rolled_back()
    told = told_of(replace(run, harmed=Harmed(41.6, 5.0, 9000.0)), journal)
    assert told.cost.harmed == 41.6 != told.cost.canary.errors
    assert told.cost.sentence == "about 42 requests failed at the canary beyond stable's rate"
    assert told_of(replace(run, harmed=Harmed()), journal).cost.sentence == ""


def test_who_decided_is_who_asked():
    run, journal = stories.aborted()
    told = told_of(run, journal)
    [abort] = [one for one in told.decisions if one.asked]
    assert abort.actor == "ada"
    assert (abort.asked[0].verb, abort.asked[0].reason) == ("abort", "wrong image")
    assert [said.event for said in abort.events] == ["run.rolling_back"]
    assert {one.actor for one in told.decisions if one is not abort} == {"canaryd"}


def _entry(at, events=(), commands=(), answers=(), split=0):
    saw = {"cells": [], "evidence": None, "commands": list(commands), "answers": list(answers)}
    return {"at": at, "saw": saw, "split": split, "phase": "baking", "wrote": "", "events": list(events)}


def test_a_command_that_is_carried_out_later_still_has_its_person():
    """A resume waits for the mesh to be seen; what follows is the word of who gave it, and other events are not."""
    run, _ = stories.baking()
    resume = {"id": "c1", "verb": "resume", "by": "ada", "reason": "we fixed it"}
    journal = [
        _entry(1.0, commands=[resume]),
        _entry(2.0, events=[["run.history", "stable is known"]], commands=[resume]),
        _entry(3.0, events=[["run.resumed", "no longer held"]], commands=[resume]),
        _entry(4.0, events=[["run.held", "again"]], commands=[resume]),
    ]
    told = told_of(run, journal).decisions
    assert [(one.at, one.actor) for one in told] == [(1.0, "ada"), (2.0, "canaryd"), (3.0, "ada"), (4.0, "canaryd")]
    assert [len(one.asked) for one in told] == [1, 0, 0, 0]


def test_answers_are_told_once_each_time_they_change():
    run, _ = stories.baking()
    question = f"{run.uid}_0_step-2_load test"

    def answer(said, at):
        return {"id": question, "said": said, "why": f"it is {said}", "at": at, "times": 1}

    journal = [_entry(at, answers=[answer(said, at)]) for said, at in (("later", 1.0), ("later", 2.0), ("yes", 3.0))]
    run = replace(run, approvals=(Approval(1, "ada", 2.5, "looks good"),))
    found = told_of(run, journal).answers
    assert [(one.at, one.who, one.said, one.before, one.why) for one in found] == [
        (1.0, "webhook load test", "later", "step 2", "it is later"),
        (2.5, "ada", "yes", "step 2", "looks good"),
        (3.0, "webhook load test", "yes", "step 2", "it is yes"),
    ]


def test_without_a_journal_the_answers_are_those_that_the_run_keeps():
    run, _ = stories.baking()
    known = Condition(f"{run.uid}_1_promotion_(alert)", 1.0, 1.0, "no", "ReviewsDown fires", 5.0, 3)
    [found] = told_of(replace(run, gates=(known,)), []).answers
    assert (found.who, found.before, found.said, found.why) == ("alerts", "promotion", "no", "ReviewsDown fires")


def test_a_journal_that_lacks_its_beginning_or_end_is_not_passed_off_as_whole():
    run, journal = stories.rolled_back()
    assert told_of(run, journal).remark == ""
    assert told_of(run, journal[5:]).remark.startswith("The journal begins only at 2026-09-21 14:13:45 UTC:")
    assert "before the run did" in told_of(run, journal[:-1]).remark


def test_decisions_of_a_status_do_not_pass_for_what_the_machine_saw():
    """A cluster keeps the words of the last decisions, and who asked for them."""
    run, journal = stories.rolled_back()
    kept = [{key: entry[key] for key in ("at", "phase", "split", "events")} for entry in journal if entry["events"]]
    told = told_of(run, kept)
    assert told.source == "status"
    assert told.remark.startswith(f"From the status of the run: all that it has decided ({len(kept)})")
    assert {one.actor for one in told.decisions} == {"canaryd"}
    asked = told_of(run, [kept[0], *(entry | {"by": "ada, bob"} for entry in kept[1:])])
    assert [one.actor for one in asked.decisions] == ["canaryd", *["ada, bob"] * (len(kept) - 1)]
    assert told_of(run, kept[2:]).remark.startswith(f"From the status of the run: the last {len(kept) - 2} of its dec")
    text = account.decisions(run, kept)
    assert "From the journal" not in text
    assert re.findall(r"^\d+\. .*$", text, re.MULTILINE) == re.findall(
        r"^\d+\. .*$", account.decisions(run, journal), re.MULTILINE
    )


@pytest.mark.parametrize("off", [-4e-7, 4e-7])
@pytest.mark.parametrize("name", NAMES)
def test_what_the_run_keeps_of_its_evidence_is_what_the_machine_saw(name, off):
    """A cluster has the words of a status and a record of thin cells: every number is there, at every decision."""
    found = real(name)
    thin = replace(found.run, cells=tuple(map(_thin, found.run.cells)), judged=None, past=None)
    kept = [{key: entry[key] for key in ("at", "phase", "split", "events")} for entry in found.journal]
    kept = [entry | {"at": entry["at"] + off} for entry in kept if entry["events"]]  # a text has microseconds
    witnessed = [one.evidence for one in told_of(found.run, found.journal).decisions if one.events]
    assert [one.evidence for one in told_of(thin, kept).decisions] == witnessed
    assert sum(evidence is not None for evidence in witnessed) > 1
    assert told_of(thin, kept).last_evidence == told_of(found.run, found.journal).last_evidence
    assert told_of(thin, kept).stages == told_of(thin, found.journal).stages
    assert "with the evidence that the run kept of them" in account.decisions(thin, kept)


@pytest.mark.parametrize("name", NAMES)
def test_of_thinned_cells_no_evidence_is_made_up(name):
    """Judged again without latencies they would give another curve: what decisions stood on is shown instead."""
    found = real(name)
    thin = replace(found.run, cells=tuple(map(_thin, found.run.cells)))
    told = {point.at: point for point in told_of(found.run, found.journal).curves.evidence}
    points = told_of(thin, []).curves.evidence
    assert 1 < len(points) < len(told)
    for point in points:
        assert (point.harm, point.proof) == (told[point.at].harm, told[point.at].proof)


def test_latencies_that_are_not_kept_any_more_are_missed():
    """The older half of a long run; with the journal it is whole again, to the last bucket."""
    found = real("promoted")
    half = len(found.run.cells) // 2
    cells = (*map(_thin, found.run.cells[:half]), *found.run.cells[half:])
    record = replace(found.run, cells=cells)
    kept = [{key: entry[key] for key in ("at", "phase", "split", "events")} for entry in found.journal]
    since = found.run.cells[half].start
    assert (told_of(record, kept).latencies_since, told_of(record, found.journal).latencies_since) == (since, None)
    assert f"Latencies are known from {clock(since)}. A cluster keeps" in render(record, kept, "html")
    late = [entry | {"saw": entry["saw"] | {"cells": []}} for entry in found.journal]
    assert f"Latencies are known from {clock(since)}.</p>" in render(record, late, "html"), "no cluster thinned it"
    assert told_of(record, found.journal).curves == told_of(found.run, found.journal).curves
    assert told_of(record, kept).curves.slow != told_of(found.run, kept).curves.slow
    assert "Latencies are known" not in render(found.run, kept, "html")


def test_evidence_beyond_all_numbers_is_null():
    """JSON has no infinity, and a parser that meets one gives up on the whole report."""
    run, journal = stories.rolled_back()
    [*_, last] = [entry for entry in journal if entry["saw"]["evidence"]]
    saw = {**last["saw"], "evidence": {**last["saw"]["evidence"], "harm": None}}
    entry = {**last, "saw": saw, "events": [["run.held", "x"]]}
    assert told_of(run, [entry]).decisions[0].evidence.harm == math.inf
    text = render(run, [entry], "json")
    assert "Infinity" not in text
    assert json.loads(text)["decisions"][0]["evidence"]["harm"] is None
    assert "over a million" in render(run, [entry], "md")


def test_a_curve_is_of_stretches_that_lose_no_request():
    """A long run has more cells than a picture has room; none is left out, and no stretch is of two weights."""
    run, _ = stories.promoted()
    one = next(cell for cell in run.cells if isinstance(cell, Cell))
    many = tuple(
        Gap(place // 250, 10.0 * place, 10.0 * place + 10, one.split, True, "away")
        if place % 97 == 0
        else replace(one, segment=place // 250, start=10.0 * place, end=10.0 * place + 10)
        for place in range(1000)
    )
    found = series.stretches(replace(run, cells=many))
    data = [cell for cell in many if isinstance(cell, Cell)]
    assert len(found) < 2 * series.STRETCHES
    assert sum(stretch.cells for stretch in found) == len(data)
    assert sum(stretch.canary.total for stretch in found) == pytest.approx(len(data) * one.canary.requests)
    for stretch in found:
        inside = [cell for cell in many if stretch.start <= cell.start and cell.end <= stretch.end]
        assert {cell.segment for cell in inside} == {stretch.segment}
        assert all(isinstance(cell, Cell) for cell in inside)


def test_failures_without_a_version_are_the_canarys_in_the_share_observed():
    """As the machine counts them when it asks whether callers meet the split: a dead canary is no traffic astray."""
    run, _ = stories.baking()
    first = next(cell for cell in run.cells if isinstance(cell, Cell))
    dead = replace(first, canary=replace(first.canary, requests=0.0, errors=0.0), unattributed=50.0)
    [found] = series.stretches(replace(run, cells=(dead,)))
    assert (found.observed.count, found.observed.total) == (50.0, 50.0 + first.stable.requests)
    assert found.canary is None


def test_an_objective_has_its_own_bound():
    run, _ = stories.baking()
    objective = {"name": "slo", "metric": "latency", "within": "250ms", "atLeast": "99%"}
    checks = run.plan.model_dump(mode="json", by_alias=True, exclude_none=True)["spec"]["analysis"]["checks"]
    content = run.plan.model_dump(mode="json", by_alias=True)
    content["spec"]["analysis"]["checks"] = [*checks, objective]
    plan = type(run.plan).model_validate(content)
    found = series.slow(replace(run, plan=plan, judged=None, phase=stories.Phase.WATCHING))
    [slow] = [one for one in found if one.bound_ms == 250.0]
    assert "slo" in slow.checks


def test_what_is_no_address_is_no_link():
    """A link is opened by a click; what runs in the reader's browser must not come from a name."""
    run, journal = stories.promoted()
    links = [Link("a", "javascript:alert(1)", "x"), Link("b", "https://kiali/console?from=1&to=2", "the graph")]
    told = told_of(run, journal, links, [Link("c", " data:text/html,x", "")])
    assert [one.title for one in told.links] == ["b"]
    assert told.traces == ()
    for form in FORMS:
        text = render(run, journal, form, links)
        assert "javascript:" not in text
        assert "kiali/console" in text


def test_without_links_there_is_no_section_of_them():
    run, journal = stories.promoted()
    assert "Look closer" not in render(run, journal, "html")
    assert "Look closer" in render(run, journal, "md", [Link("b", "https://kiali", "")])
    assert "Example traces" in render(run, journal, "md", (), [Link("b", "https://jaeger", "")])


def test_the_keys_of_the_json_are_those_of_the_docs():
    """Whoever reads the JSON by a program relies on the page."""
    documented = set(re.findall(r"`([a-zA-Z]+)`", PAGE.read_text(encoding="utf-8")))
    keys = {
        key
        for module in (document, decisions, series, summary)
        for kind in vars(module).values()
        if isinstance(kind, type) and is_dataclass(kind) and kind in _reached(document.Document)
        for key in (document._camel(field.name) for field in fields(kind))
    }
    assert len(keys) > 60
    assert sorted(keys - documented) == []


def _reached(kind: type) -> set[type]:
    """The dataclasses that values of ``kind`` are made of."""
    names = " ".join(str(field.type) for field in fields(kind))
    known = {
        one.__name__: one
        for module in (document, decisions, series, summary)
        for one in vars(module).values()
        if isinstance(one, type) and is_dataclass(one)
    }
    below = {one for name, one in known.items() if re.search(rf"\b{name}\b", names) and one is not kind}
    below -= {known.get("Run"), known.get("Pin"), known.get("Split")}
    return {kind}.union(*(_reached(one) for one in below))


def test_the_same_run_is_the_same_text():
    run, journal = stories.rolled_back()
    for form in FORMS:
        assert render(run, journal, form) == render(run, journal, form)


def test_numbers_stay_numbers():
    told = as_data(told_of(*stories.baking()))
    assert told["version"] == 1
    assert told["curves"]["wanted"][-1]["weight"] == 25.0
    assert isinstance(told["plan"]["spec"], dict)


def test_who_only_observes_has_sent_nothing():
    """What it would have written is told, and never counted as written."""
    world = World(plan=small_plan(mode="observe"))
    for _ in range(8):
        world.tick()
        world.clock.at += 1.5
    journal = json.loads(json.dumps(world.journal.entries))
    told = told_of(world.saved, journal)
    assert any(said.event == "run.would_write" for one in told.decisions for said in one.events)
    assert not any(one.wrote for one in told.decisions)
    assert told.verdict.startswith("Nothing was moved: canaryd only observed v3 beside v1;")
    assert told.released.observed_only


def test_traffic_that_went_back_to_stable_is_told_as_a_promotion():
    world = World(plan=small_plan(afterPromotion="return"))
    run = world.live()
    told = told_of(run, json.loads(json.dumps(world.journal.entries)))
    assert told.verdict.endswith("v1 runs the same by now and has all the traffic.")
    assert told.tone == "good"
