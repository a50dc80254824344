"""Preflight before a run: what stops it, what is kept with it, and what a person may let pass."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from canaryd.engine.admission import Begun, Looked, begin, look, prepare
from canaryd.engine.ports import World as Ports
from canaryd.errors import Unavailable
from canaryd.model.decision import Told
from canaryd.model.finding import Code, Finding, accepted, as_problem, in_order, summary, worst
from canaryd.model.plan import Plan
from canaryd.model.problem import Refused
from canaryd.model.run import Phase
from canaryd.model.traffic import Admission
from tests.mesh.memory import MemoryMesh
from tests.mesh.objects import at, surroundings
from tests.stage import Stage
from tests.store.memory import MemoryStore
from tests.world import Remembered, ports, small_plan
from tests.world import World as TickedWorld

BAD = Code("Bad", "error", "it is bad", "mend it")
NIGHT = Code("Night", "error", "nobody is there", "wait", transient=True)
ODD = Code("Odd", "warning", "it is odd", "look")
NOTE = Code("Note", "info", "it is so", "nothing")


class Examiner:
    """The port Preflight, which says what a test wants."""

    def __init__(self, *findings: Finding) -> None:
        self.findings = findings
        self.asked: list[Admission | None] = []

    def examine(self, plan: Plan, admitted: Admission | None = None) -> tuple[Finding, ...]:
        assert plan
        self.asked.append(admitted)
        return self.findings


class World:
    """The ports that a beginning asks, all well."""

    def __init__(self) -> None:
        self.mesh = MemoryMesh(at(100, 0), surroundings())
        self.metrics = Remembered(0.0)
        self.store = MemoryStore()

    def look(self, *findings: Finding, plan: Plan | None = None) -> tuple[Finding, ...]:
        return look(plan or small_plan(), self.ports(Examiner(*findings)))

    def prepare(self, examiner: Examiner, plan: Plan | None = None) -> Looked | None:
        return prepare(plan or small_plan(), self.ports(examiner))

    def begin(self, *findings: Finding, plan: Plan | None = None) -> Begun:
        return begin(plan or small_plan(), self.ports(Examiner(*findings)))

    def ports(self, examiner: Examiner) -> Ports:
        return ports(self.mesh, self.metrics, self.store, examiner)


def rival(**spec: Any) -> Plan:
    """Another plan on the same entry."""
    plan = small_plan(**spec)
    return plan.model_copy(update={"metadata": plan.metadata.model_copy(update={"name": "rival"})})


def test_an_error_stops_the_run_before_anything_is_kept() -> None:
    world = World()
    with pytest.raises(Refused) as refused:
        world.begin(ODD.at("there", "is odd"), BAD.at("here", "is bad", "mend --it"))
    [problem] = refused.value.problems
    assert (problem.code, problem.path, problem.command) == ("Bad", "here", "mend --it")
    assert not refused.value.transient
    assert list(world.store.records()) == []


def test_what_passes_by_itself_makes_a_refusal_that_passes() -> None:
    for findings, passes in (((NIGHT.at("a", "b"),), True), ((NIGHT.at("a", "b"), BAD.at("a", "b")), False)):
        with pytest.raises(Refused) as refused:
            World().begin(*findings)
        assert refused.value.transient is passes


def test_what_does_not_stop_a_run_is_kept_with_it_the_gravest_first() -> None:
    record = World().begin(NOTE.at("a", "is so"), ODD.at("b", "is odd")).record
    assert [one.code for one in record.run.findings] == ["Odd", "Note"]


def test_notes_are_kept_and_not_told_at_the_start() -> None:
    world = World()
    answer = world.begin(NOTE.at("a", "is so"), ODD.at("b", "is odd"))
    assert "b: is odd" in answer.remarks
    assert "a: is so" not in answer.remarks


def test_an_error_that_a_person_has_accepted_is_a_warning_with_the_reason() -> None:
    lenient = small_plan(acceptFindings=[{"code": "Bad", "reason": "seen by Ann"}])
    [finding] = World().begin(BAD.at("here", "is bad"), plan=lenient).record.run.findings
    assert (finding.level, finding.sentence) == ("warning", "is bad (accepted by the plan: seen by Ann)")
    with pytest.raises(Refused):
        World().begin(NIGHT.at("a", "b"), plan=lenient)


def test_what_admission_refuses_cannot_be_accepted() -> None:
    """A plan on weights that another run works on stays refused, whatever it accepts."""
    world = World()
    world.begin()
    other = rival(acceptFindings=[{"code": "Claimed", "reason": "never mind"}])
    with pytest.raises(Refused) as refused:
        world.begin(plan=other)
    assert [problem.code for problem in refused.value.problems] == ["Claimed"]


def test_what_admission_refuses_hides_nothing_that_preflight_finds() -> None:
    """Who mends one thing wants to know of the next; and what stops nothing is in a look all the same."""
    world = World()
    world.mesh = MemoryMesh(at(50, 50), surroundings())
    with pytest.raises(Refused) as refused:
        world.begin(BAD.at("here", "is bad"))
    assert [problem.code for problem in refused.value.problems] == ["NotAtStable", "Bad"]
    marked = at(50, 50)
    marked["spec"]["http"][0]["timeout"] = "3s"
    world.mesh = MemoryMesh(marked, surroundings())
    assert [one.code for one in world.look(BAD.at("here", "is bad"))] == ["NotAtStable", "Bad", "TimeoutCuts"]


def test_who_only_observes_is_stopped_by_nothing_that_preflight_finds() -> None:
    record = World().begin(BAD.at("here", "is bad"), plan=small_plan(mode="observe")).record
    assert "Bad" in [one.code for one in record.run.findings]


def test_what_was_found_is_told_once_when_the_run_starts() -> None:
    stage = Stage()
    stage.run = replace(stage.run, findings=(ODD.at("b", "is odd"), NOTE.at("a", "is so")))
    stage.until(Phase.BAKING)
    told = [event for event in stage.told if event.told is Told.PREFLIGHT]
    assert [event.reason for event in told] == ["preflight has 1 warning, 1 note: Odd: b: is odd"]


def test_the_journal_has_every_finding_in_full_once() -> None:
    """Remedy and details too: who reads the audit later has no other place to look."""
    world = TickedWorld()
    record = world.store.load("run-1")
    odd = ODD.at("b", "is odd", "mend --it", details=("so it is",))
    world.store.save(replace(record, run=replace(record.run, findings=(odd,))))
    for _ in range(3):
        world.tick()
    [entry] = [one for one in world.journal.entries if "preflight" in one]
    assert entry["preflight"] == [asdict(odd)]
    assert ["run.preflight", "preflight has 1 warning: Odd: b: is odd"] in entry["events"]  # type: ignore[operator]


def test_a_look_finds_what_a_beginning_would_and_begins_nothing() -> None:
    world = World()
    found = world.look(BAD.at("here", "is bad"), NOTE.at("a", "is so"))
    assert [one.code for one in found] == ["Bad", "Note"]
    assert list(world.store.records()) == []


def test_a_look_at_a_refused_plan_has_the_reasons_with_their_codes() -> None:
    world = World()
    world.begin()
    found = world.look(plan=rival())
    assert ("Claimed", "error", True) in [(one.code, one.level, one.transient) for one in found]


def test_a_look_where_nobody_answers_is_a_finding_too() -> None:
    class Away(MemoryMesh):
        def admit(self, plan: Plan) -> Admission:
            raise Unavailable(f"nobody is there for {plan}")

    world = World()
    world.mesh = Away(at(100, 0), surroundings())
    found = world.look()
    assert [(one.code, one.transient) for one in found] == [("KubernetesUnreachable", True)]


def test_what_takes_its_time_is_asked_before_the_lock_and_once() -> None:
    """A beginning holds up every other; what was found a moment ago is not asked again."""
    world, examiner = World(), Examiner(ODD.at("b", "is odd"))
    prepared = world.prepare(examiner)
    assert prepared is not None
    answer = begin(small_plan(), world.ports(examiner), prepared=prepared)
    assert len(examiner.asked) == 1
    assert [one.code for one in answer.record.run.findings] == ["Odd"]
    assert answer.remarks == ("b: is odd", *prepared.outlook)


def test_where_nothing_would_begin_nothing_is_prepared() -> None:
    """A run in flight, for one."""
    world, examiner = World(), Examiner()
    world.begin()
    assert world.prepare(examiner) is None
    assert examiner.asked == []


def test_what_was_found_of_a_plan_that_is_refused_is_not_looked_for_again() -> None:
    """Unless it is admitted by then: more is asked of one that may begin."""
    world, examiner = World(), Examiner(BAD.at("here", "is bad"))
    world.mesh = MemoryMesh(at(50, 50), surroundings())
    prepared = world.prepare(examiner)
    with pytest.raises(Refused) as refused:
        begin(small_plan(), world.ports(examiner), prepared=prepared)
    assert [problem.code for problem in refused.value.problems] == ["NotAtStable", "Bad"]
    assert len(examiner.asked) == 1
    with pytest.raises(Refused) as refused:
        begin(small_plan(), World().ports(examiner), prepared=prepared)
    assert [problem.code for problem in refused.value.problems] == ["Bad"]
    assert len(examiner.asked) == 2


def test_what_was_prepared_does_not_let_a_second_run_begin_on_one_entry() -> None:
    """Between the look and the lock somebody else was faster."""
    world, examiner = World(), Examiner()
    prepared = world.prepare(examiner, rival())
    world.begin()
    with pytest.raises(Refused, match="about to be moved by plan"):
        begin(rival(), world.ports(examiner), prepared=prepared)


def test_findings_are_in_order_each_once() -> None:
    bad, note = BAD.at("a", "b"), NOTE.at("a", "b")
    assert in_order([note, bad, note]) == (bad, note)
    assert worst([note, bad]) == "error"
    assert worst([]) is None
    assert str(as_problem(bad)) == "a: b [Bad]"
    assert accepted([bad], {"Other": "x"}) == (bad,)
    assert summary([bad, bad]) == "preflight has 2 errors: Bad: a: b; Bad: a: b"
