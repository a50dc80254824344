"""
What always holds of the machine, whatever the mesh, the metrics, the pods and people do.

A walk is a random sequence of things that happen to a stage; after each the invariants are asked. What is promised here
is promised to release managers: a weight that is not in the plan, or one that rises after a failure, is an incident.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import Phase as Stages
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from canaryd.machine import decide
from canaryd.model.cells import Cell, Gap
from canaryd.model.decision import Decision, Observation, Told, Unseen
from canaryd.model.run import Phase, Run
from canaryd.model.traffic import EVERYTHING, NOTHING, OTHERWISE, Marker, Sides, Sighting, Split
from tests.stage import Stage, percent, plan, side

WEBHOOK = {"webhooks": [{"name": "board", "limit": "5m"}]}
GATES: list[dict[str, Any]] = [
    {},
    {"start": WEBHOOK},
    {"promotion": {**WEBHOOK, "alert": {"names": ["Down"], "whileFiring": "rollback"}}},
    {"start": {"approve": {"limit": "5m", "otherwise": "hold"}}, "promotion": {"alert": {"names": ["Down"]}}},
]
PLANS = st.builds(
    plan,
    st.just(5),
    st.just(25),
    st.just(50),
    gate_at=st.sampled_from([None, 0, 2]),
    match_first=st.booleans(),
    gates=st.sampled_from(GATES),
    on_drift=st.sampled_from(["hold", "reassert", "abort"]),
    on_canary_change=st.sampled_from(["restart", "abort"]),
    on_no_data=st.sampled_from([{"hold": "2m", "then": "rollback"}, {"hold": "2m", "then": "hold"}]),
    on_inconclusive=st.sampled_from([{"hold": "5m", "then": "rollback"}, {"hold": "5m", "then": "hold"}]),
    after_promotion=st.sampled_from(["keep", "return"]),
)
SAYS: list[dict[str, Any]] = [
    {},
    {"proven": False},
    {"harm": 7.0},
    {"objectives_hold": False},
    {"canary_requests": 3},
    {"doubt": "refused"},
    {"shared_from": None},
    {"shared_from": None, "doubt": "share", "astray": True},
]
WEIGHTS = st.sampled_from([0, 1, 5, 25, 50, 60, 100, None])


def _asked(one: Run | Marker) -> tuple[Split, str]:
    return one.split, one.match


def _exposed(run: Run) -> tuple[Split, bool]:
    """How many meet the canary: more where the weight is more, and more where somebody does beside it."""
    return run.split, bool(run.match)


class Walk(RuleBasedStateMachine):
    """One run and everything that can happen to it."""

    @initialize(of=PLANS, late=st.booleans())
    def begin(self, of: Any, late: bool) -> None:
        self.stage = Stage(plan=of)
        if late and of.spec.after_promotion == "return":  # few walks would get there
            self.stage.answers = {"board": ("yes", "because"), "alert": ("yes", "because")}
            self.stage.ask("approve", step=self.stage.run.place)
            while self.stage.run.phase is not Phase.RETURNING:
                if self.stage.run.hold:
                    self.stage.ask("approve", step=self.stage.run.place)
                self.stage.tick()
        self.stage.answers = {}
        self.written: list[Split] = []
        self.adopted: set[Split] = set()
        self.failed = False
        self.aborted = False
        self.hands = False

    # -- what happens

    @rule(seconds=st.sampled_from([1, 5, 12, 45]), times=st.integers(1, 12))
    def time_passes(self, seconds: float, times: int) -> None:
        for _ in range(times):
            self._tick(seconds)

    @rule(seconds=st.just(30), times=st.just(8))
    def much_time_passes(self, seconds: float, times: int) -> None:
        self.time_passes(seconds, times)

    @rule(says=st.sampled_from(SAYS))
    def evidence_changes(self, says: dict[str, Any]) -> None:
        self.stage.says = dict(says)

    @rule()
    def evidence_is_well(self) -> None:
        self.stage.says, self.stage.gap, self.stage.blind = {}, "", ""

    @rule()
    @precondition(lambda self: self.stage.run.exposed)
    def harm_is_certain(self) -> None:
        self.stage.says = {"failure": "errors"}

    @rule(gap=st.sampled_from(["", "no series"]), blind=st.sampled_from(["", "connection refused"]))
    def metrics_come_and_go(self, gap: str, blind: str) -> None:
        self.stage.gap, self.stage.blind = gap, blind

    @rule(hidden=st.sampled_from(["", "no answer"]), lands=st.booleans())
    def the_mesh_comes_and_goes(self, hidden: str, lands: bool) -> None:
        self.stage.hidden, self.stage.lands = hidden, lands

    @rule(weight=WEIGHTS)
    def somebody_edits_the_weights(self, weight: float | None) -> None:
        self.hands = True
        self.stage.by_hand(weight)

    @rule(match=st.sampled_from(["", OTHERWISE]))
    def somebody_edits_our_entries(self, match: str) -> None:
        self.hands = True
        self.stage.mesh = replace(self.stage.mesh, match=match)

    @rule()
    def somebody_takes_the_marker_out(self) -> None:
        self.hands = True
        self.stage.mesh = replace(self.stage.mesh, marker=None)

    @rule(missing=st.booleans())
    def stable_comes_and_goes(self, missing: bool) -> None:
        self.stage.mesh = replace(self.stage.mesh, stable_missing=missing)

    @rule(
        stable=st.sampled_from([{}, {"ready": 0}, {"hashes": ("new",)}, {"rolled_out": False}]),
        canary=st.sampled_from([{}, {}, {"ready": 0}, {"hashes": ("new",)}, {"rolled_out": False}]),
    )
    def pods_change(self, stable: dict[str, Any], canary: dict[str, Any]) -> None:
        self.stage.sides(stable=stable, canary=canary)

    @rule(ready=st.sampled_from([2, 2, 1, 0]), rolled_out=st.booleans())
    def stable_is_updated(self, ready: int, rolled_out: bool) -> None:
        new = side("v1", hashes=("new",), ready=ready, rolled_out=rolled_out)
        self.stage.pods = Sides(new, side("v3"), unlike=())

    @rule()
    def pods_are_hidden(self) -> None:
        self.stage.pods = Unseen("no answer")

    @rule()
    def pods_are_well(self) -> None:
        self.stage.sides()

    @rule(
        verb=st.sampled_from(["approve", "resume", "resume", "promote", "hold", "adopt", "advance", "skip"]),
        step=st.sampled_from([None, 0, 1, 2]),
        force=st.booleans(),
        skips=st.sampled_from([None, 1, 2]),
    )
    def somebody_asks(self, verb: str, step: int | None, force: bool, skips: int | None) -> None:
        self.stage.ask(verb, step=step, reason="because", force=force, skips=skips)

    @rule(weight=st.sampled_from([1, 5, 10]))
    @precondition(lambda self: self.stage.run.phase is Phase.BAKING and self.stage.run.split > percent(10))
    def a_weight_that_somebody_set_is_taken_over(self, weight: float) -> None:
        self.somebody_edits_the_weights(weight)
        self._tick(5)
        self.stage.ask("adopt")

    @rule(
        board=st.sampled_from(["", "yes", "no", "later", "silent"]), alert=st.sampled_from(["", "yes", "no", "silent"])
    )
    def gates_are_answered(self, board: Any, alert: Any) -> None:
        said = {"board": board, "alert": alert}
        self.stage.answers = {name: (word, "because") for name, word in said.items() if word}

    @rule(force=st.booleans())
    def somebody_aborts(self, force: bool) -> None:
        self.stage.ask("abort", force=force)
        self.aborted = not self.stage.run.final

    @rule(why=st.sampled_from(["", "frozen", "outside of the change window"]))
    def windows_and_freezes_come_and_go(self, why: str) -> None:
        self.stage.barred = why

    @rule()
    @precondition(lambda self: not self.stage.barred)
    def somebody_freezes_everything(self) -> None:
        self.stage.barred = "frozen"

    @rule()
    def somebody_stops_everything(self) -> None:
        self.stage.barred = self.stage.stopped = "stopped by ada"

    @rule()
    def the_stop_is_lifted(self) -> None:
        self.stage.barred = self.stage.stopped = ""

    @rule()
    def a_save_is_lost(self) -> None:
        """The tick's write reaches the mesh where it goes there first; the run is as before."""
        if self.stage.run.final:
            return
        seen = self.stage.see()
        decision = decide(self.stage.run, seen)
        if decision.write and decision.write.toward == "stable" and self.stage.lands:
            self.stage.land(decision.write.marker)
            self.written.append(decision.write.marker.split)

    # -- what always holds

    def _tick(self, seconds: float) -> None:
        before, shown = self.stage.run, self.stage.mesh
        decision = self.stage.tick(seconds)
        seen = replace(self.stage.see(), mesh=Unseen("") if self.stage.hidden else shown)
        self._weights(before, decision, shown)
        self._rises(before, decision, shown)
        self._keeps_still(before, decision, shown)
        self._cells(decision.run)
        if before.final:
            assert decision.run == before
            assert decision.write is None
        if decision.run.phase is Phase.ROLLED_BACK and not before.final and before.seq:
            assert isinstance(seen.mesh, Sighting)
            assert (seen.mesh.split, seen.mesh.match) == (NOTHING, "")
        assert isinstance(seen, Observation)

    def _weights(self, before: Run, decision: Decision, shown: Sighting) -> None:
        """
        Weights come only from the plan, or are there already and are taken over at a person's word.

        Each write has a sequence of its own.
        """
        allowed = {NOTHING, EVERYTHING, *(step.weight for step in before.plan.spec.steps)}
        if Told.TOOK_OVER in {event.told for event in decision.events}:
            assert (decision.run.split, decision.run.match) == (shown.split, shown.match)
            assert decision.run.split <= before.split
            self.adopted.add(decision.run.split)
        allowed |= self.adopted
        if decision.run.returned and not before.returned and decision.write:
            assert isinstance(self.stage.pods, Sides)
            assert self.stage.pods.unlike == () or before.returned_by or decision.run.returned_by
            assert self.stage.pods.stable.ready > 0
        assert decision.run.split in allowed
        if write := decision.write:
            assert write.marker.split in allowed
            assert write.marker.seq > before.seq
            assert write.marker.seq == decision.run.seq
            assert _asked(write.marker) == _asked(decision.run)
            assert write.marker.match in {"", *(step.audience for step in before.plan.spec.steps)}
            self.written.append(write.marker.split)

    def _rises(self, before: Run, decision: Decision, shown: Sighting) -> None:
        """What we want rises on PASS, a person's promotion or the start of the run only, and never after a latch."""
        rose = _exposed(decision.run) > _exposed(before)
        told = {event.told for event in decision.events}
        if rose:
            assert decision.run.latch is None
            brought_down = before.hold is not None and before.hold.kind == "drift"
            assert told & {Told.PASSED, Told.ADVANCED, Told.PROMOTING, Told.STARTED} or (
                brought_down and Told.RESUMED in told
            )
            assert decision.write is not None
            assert decision.write.toward == "canary" or (shown.split or NOTHING) > decision.run.split
        if rose and told & {Told.PASSED, Told.ADVANCED}:
            assert decision.run.step not in decision.run.skipped
            assert not self.stage.blind
            assert not self.stage.gap or decision.run.cells == before.cells
        if rose and not decision.run.unproven:
            self._gates(before, decision.run)
        if before.latch:
            assert decision.run.latch is not None
            assert decision.run.split <= before.split
            assert decision.write is None or _asked(decision.write.marker) == (NOTHING, "")

    def _gates(self, before: Run, run: Run) -> None:
        """No weight rises past a gate of which a condition was not answered with yes, saved with the run."""
        for term in before.terms:
            known = run.condition(term)
            assert term.place in run.approved if term.kind == "approve" else known is not None and known.said == "yes"

    def _keeps_still(self, before: Run, decision: Decision, shown: Sighting) -> None:
        """While something bars it, or a person holds it, nothing rises in the mesh; a stop latches every run."""
        barred = self.stage.barred or decision.run.held_by
        if barred and decision.write:
            assert decision.write.marker.split <= max(shown.split or NOTHING, shown.most)
            assert decision.write.marker.match in ("", shown.match)
        if barred:
            assert Told.STARTED not in {event.told for event in decision.events}
        if self.stage.stopped:
            assert before.final or decision.run.latch is not None

    def _cells(self, run: Run) -> None:
        """Each cell belongs to one segment, in order, evaluated once, and contiguous within its segment."""
        segments = run.segments
        assert [segment.index for segment in segments] == list(range(len(segments)))
        for former, following in zip(run.cells, run.cells[1:], strict=False):
            assert (former.segment, former.end) <= (following.segment, following.start)
            assert former.segment < following.segment or former.end == following.start
        for cell in run.cells:
            segment = segments[cell.segment]
            until = segments[cell.segment + 1].origin if cell.segment + 1 < len(segments) else self.stage.now
            assert segment.origin <= cell.start
            assert cell.end <= until
            assert cell.split == segment.split
            assert isinstance(cell, Gap) or cell.matched == segment.matched
            assert not (cell.settled and not segment.ours)

    @invariant()
    def deciding_twice_is_the_same(self) -> None:
        seen = self.stage.see()
        assert decide(self.stage.run, seen) == decide(self.stage.run, seen)

    @invariant()
    def no_abort_is_lost(self) -> None:
        ours = [command.id for command in self.stage.commands if command.verb == "abort"]
        if ours and ours[0] in self.stage.run.obeyed:
            assert self.stage.run.latch is not None

    @invariant()
    def a_run_that_waits_says_for_what(self) -> None:
        run = self.stage.run
        assert run.final or run.waiting or run.segments[-1].seq == 0

    @invariant()
    def promoted_is_at_everything_and_rolled_back_at_nothing(self) -> None:
        run = self.stage.run
        if run.phase is Phase.PROMOTED:
            returns = run.plan.spec.after_promotion == "return"
            assert (run.split, run.latch) == (NOTHING if returns else EVERYTHING, None)
        if run.phase is Phase.ROLLED_BACK:
            assert not run.exposed
            assert run.latch is not None

    def teardown(self) -> None:
        """Whatever happened: when the world is well again, a latched run ends at 0 %."""
        stage = getattr(self, "stage", None)
        if stage is None:
            return
        stage.hidden, stage.lands, stage.blind, stage.gap, stage.says = "", True, "", "", {}
        stage.stopped = ""  # it may have been seen by no tick; what bars the way up bars no way back, and stays
        stage.sides()
        stage.mesh = replace(stage.mesh, stable_missing=False)
        if stage.mesh.split is None:
            stage.by_hand(0)
        stage.rest(60)
        if stage.run.latch or self.aborted:
            stage.rest(60)  # a hold may have run out a moment ago
            assert stage.run.final
            assert not stage.run.exposed


TestWalk = Walk.TestCase
TestWalk.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    phases=[Stages.generate, Stages.shrink],  # explaining costs minutes and says little of a walk
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def test_traffic_never_rises_while_nothing_but_time_passes_in_doubt() -> None:
    """Doubt of any kind, for a day: the split stays or falls."""
    for says in SAYS[2:]:
        stage = Stage(says=dict(says))
        stage.rest(1200)
        assert max(stage.splits) == percent(5)


def test_a_cell_is_brought_once_however_often_the_run_is_ticked() -> None:
    """Ticks come from due times, wakes and restarts; a cell counts once."""
    stage = Stage()
    stage.baking()
    for _ in range(200):
        stage.tick(0.5)
    places = [(cell.segment, cell.start) for cell in stage.run.cells]
    assert len(set(places)) == len(places)
    assert all(isinstance(cell, Cell) for cell in stage.run.cells)
    assert side("v1").ready == 2
