"""What becomes of each CanaryPlan: looked at by hand, over a canaryd that only writes down what it is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from canaryd.controller.following import Course
from canaryd.controller.plans import Plans, Standing, run_name
from canaryd.engine.admission import Begun, Settled
from canaryd.engine.guarding import Queue
from canaryd.errors import CanarydError, Unavailable
from canaryd.kube import Missing
from canaryd.model.plan import Plan
from canaryd.model.problem import Problem, Refused
from canaryd.model.queue import Limits
from canaryd.model.run import Command, Latch, Outcome, Phase, Record, Run
from tests.stage import new_run, plan

Object = dict[str, Any]
KEY = "default/reviews"


class Written:
    """A canaryd on paper."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.orders: list[tuple[str, Command]] = []
        self.carried: list[str] = []
        self.let_go_of: list[str] = []
        self.woken: list[str] = []
        self.stored: dict[str, Run] = {}
        self.answer: CanarydError | None = None
        self.asked_at: list[float] = []
        self.words: list[Command] = []
        self.obeyed: list[str] = []
        self.queue = Queue(Limits(1))

    def load(self, uid: str) -> Run:
        if uid not in self.stored:
            raise Missing(uid)
        return self.stored[uid]

    def begin(self, plan: Plan, *, uid: str, asked: float, again: bool) -> Begun:
        self.asked_at.append(asked)
        assert again == (bool(self.words) and plan.spec.release == "v3")
        if self.answer:
            raise self.answer
        self.begun.append(plan.spec.release)
        run = replace(new_run(plan), uid=f"reviews-{len(self.begun)}", created=float(len(self.begun)))
        return Begun(Record(run, 1), resumed=False, remarks=("a remark",))

    def asked(self, run: Run) -> tuple[Command, ...]:
        return tuple(word for word in self.words if word.id not in self.obeyed)

    def answered(self, uid: str, command: Command) -> Run:
        self.obeyed.append(command.id)
        return replace(over("v3"), uid=uid)

    def order(self, uid: str, command: Command) -> None:
        self.orders.append((uid, command))

    def carry_out(self, run: Run) -> None:
        self.carried.append(run.uid)

    def let_go(self, uid: str) -> None:
        self.let_go_of.append(uid)

    def wake(self, uid: str) -> None:
        self.woken.append(uid)


class Shelf:
    """CanaryPlans as a cache has them."""

    def __init__(self) -> None:
        self.plans: dict[str, Object] = {}

    def get(self, namespace: str, name: str) -> Object | None:
        return self.plans.get(f"{namespace}/{name}")

    def all(self) -> list[Object]:
        return list(self.plans.values())

    def put(
        self, release: str = "v3", *, status: Object | None = None, annotations: Object | None = None, **spec: Any
    ) -> None:
        text = plan(5, 50, release=release).model_dump(mode="json", by_alias=True, exclude_unset=True)
        meta = {
            "name": "reviews",
            "namespace": "default",
            "uid": "u-1",
            "generation": 3,
            "resourceVersion": "7",
            "managedFields": [{}],
            "annotations": annotations or {},
        }
        text = {
            "apiVersion": "canaryd.io/v1alpha1",
            "kind": "CanaryPlan",
            "metadata": meta,
            "spec": text["spec"] | spec,
        }
        self.plans[KEY] = text | ({"status": status} if status else {})


class Desk:
    """The whole of it."""

    def __init__(self, *runs: Run, unreadable: tuple[tuple[str, str, str], ...] = (), history: int = 10) -> None:
        self.canaryd = Written()
        self.shelf = Shelf()
        self.shown: list[Standing] = []
        self.deleted: list[str] = []
        self.noted: list[str] = []
        self.plans = Plans(
            self.canaryd,  # type: ignore[arg-type]  # what Plans asks of a Canaryd
            self.shelf,
            dict,
            show=self.shown.append,
            unreadable=lambda: unreadable,
            settle=lambda namespace, name, release: self.noted.append(f"{namespace}/{name} {release}"),
            tidy=lambda run: self.deleted.append(run.uid),
            history=history,
        )
        for run in runs:
            self.plans.ticked(run)

    def look(self) -> Standing | None:
        before = len(self.shown)
        self.plans.look(KEY)
        return self.shown[-1] if len(self.shown) > before else None


@pytest.fixture
def desk() -> Desk:
    return Desk()


def flying(release: str = "v3", **changes: Any) -> Run:
    return replace(new_run(plan(5, 50, release=release)), uid=f"reviews-{release}", **changes)


def over(release: str, created: float = 1.0) -> Run:
    ending = {"phase": Phase.PROMOTED, "outcome": Outcome.PROMOTED, "released": True, "created": created}
    return flying(release, **ending)


def test_a_new_plan_begins_a_run_once(desk: Desk) -> None:
    """And its status shows the run, with what admission remarked."""
    desk.shelf.put()
    standing = desk.look()
    assert standing is not None
    assert standing.following.run is not None
    assert standing.remarks == ("a remark",)
    desk.look()
    assert desk.canaryd.begun == ["v3"]


def test_a_refused_plan_is_tried_again_less_and_less_often(desk: Desk) -> None:
    """With every problem in what is shown; and at once when its route changes."""
    desk.shelf.put()
    desk.canaryd.answer = Refused([Problem("spec.target", "reviews", "a VirtualService"), Problem("b", "", "c")])
    standing = desk.look()
    assert standing is not None
    assert standing.problems == str(desk.canaryd.answer)
    desk.canaryd.answer = None
    again = desk.look()
    assert again is not None
    assert again.problems
    assert desk.canaryd.begun == []
    desk.plans.route_changed("elsewhere", "reviews")
    desk.look()
    assert desk.canaryd.begun == []
    desk.plans.route_changed("default", "reviews")
    desk.look()
    assert desk.canaryd.begun == ["v3"]


@pytest.mark.parametrize("transient", [True, False])
def test_what_passes_by_itself_is_tried_again_soon_however_often(desk: Desk, transient: bool) -> None:
    """Pods that start, traffic that comes in the morning: nobody wants to wait for a backoff after that."""
    desk.shelf.put()
    problem = Problem("Service default/reviews", "none", "traffic", code="NoSeries", transient=transient)
    desk.canaryd.answer = Refused([problem])
    waits = []
    for _ in range(3):
        desk.plans.route_changed("default", "reviews")
        desk.look()
        waits.append(desk.plans._desks[KEY].wait)
    assert (waits[0] == waits[1] == waits[2]) is transient


def test_another_text_is_tried_at_once(desk: Desk) -> None:
    """A release manager who mends the plan does not wait for a backoff."""
    desk.shelf.put()
    desk.canaryd.answer = Unavailable("the API does not answer")
    desk.look()
    desk.canaryd.answer = None
    desk.shelf.put(release="v4")
    desk.look()
    assert desk.canaryd.begun == ["v4"]


def test_a_plan_that_cannot_be_read_is_shown_so_and_its_run_goes_on() -> None:
    """Every problem of it."""
    desk = Desk(flying())
    desk.shelf.put(steps=[{"weight": 500}], watsch="5m")
    standing = desk.look()
    assert standing is not None
    assert standing.plan is None
    assert "spec.steps.0.weight" in standing.problems
    assert "watsch" in standing.problems
    assert standing.following.run is not None
    assert desk.canaryd.orders == []


def test_a_new_release_in_mid_run_ends_it_and_begins_after_it() -> None:
    """`replace`: rolled back first."""
    desk = Desk(flying())
    desk.shelf.put(release="v4")
    desk.look()
    ((uid, order),) = desk.canaryd.orders
    assert (uid, order.verb, order.reason) == ("reviews-v3", "abort", "release 'v4' replaces release 'v3'")
    desk.plans.ticked(flying(latch=Latch("abort", "", 0.0)))
    desk.look()
    assert len(desk.canaryd.orders) == 1
    desk.plans.ticked(flying(phase=Phase.ROLLED_BACK, outcome=Outcome.ABORTED, released=True))
    desk.look()
    assert desk.canaryd.begun == ["v4"]


def test_a_release_that_was_turned_down_is_remembered_by_the_status() -> None:
    """Also by the next leader, after the run's end."""
    desk = Desk(flying())
    desk.shelf.put(release="v4", onNewRelease="refuse")
    standing = desk.look()
    assert standing is not None
    assert standing.following.course is Course.TURN_DOWN
    after = Desk(over("v3"))
    after.shelf.put(release="v4", onNewRelease="refuse", status={"turnedDown": "v4"})
    after.look()
    assert after.canaryd.begun == []
    after.shelf.put(release="v5", onNewRelease="refuse", status={"turnedDown": "v4"})
    after.look()
    assert after.canaryd.begun == ["v5"]


def test_a_deleted_plan_ends_its_run() -> None:
    """Once it has ended nothing is left of it here."""
    desk = Desk(flying())
    desk.look()
    assert [(uid, order.reason) for uid, order in desk.canaryd.orders] == [("reviews-v3", "the plan was deleted")]
    desk.plans.ticked(over("v3"))
    desk.look()
    assert len(desk.canaryd.orders) == 1
    assert desk.plans.in_flight() == []


def test_what_was_settled_is_known_from_the_plan_where_runs_are_gone(desk: Desk) -> None:
    """A cluster restored from a backup without its runs releases nothing twice."""
    desk.shelf.put(annotations={"canaryd.io/settled": "v3"})
    desk.look()
    assert desk.canaryd.begun == []


def test_a_settled_release_that_only_the_store_knows_of_is_shown_so(desk: Desk) -> None:
    """Admission has the last word."""
    desk.shelf.put()
    desk.canaryd.answer = Settled(over("v3"))
    standing = desk.look()
    assert standing is not None
    assert (standing.following.course, standing.problems) == (Course.REST, "")


RETRY = Command("one", "retry", by="ada")


def test_a_retry_begins_the_settled_release_once_more_and_is_answered() -> None:
    desk = Desk(over("v3"))
    desk.shelf.put()
    desk.canaryd.words = [RETRY]
    desk.look()
    assert (desk.canaryd.begun, desk.canaryd.obeyed) == (["v3"], ["one"])


def test_a_retry_of_a_release_that_the_plan_asks_for_no_more_is_not_what_begins_the_next() -> None:
    """The release that the plan asks for begins because it is new, and as one that was not settled."""
    desk = Desk(over("v3"))
    desk.shelf.put(release="v4")
    desk.canaryd.words = [RETRY]
    desk.look()
    assert (desk.canaryd.begun, desk.canaryd.obeyed) == (["v4"], [])


@pytest.mark.parametrize("passing", [True, False])
def test_a_retry_that_is_refused_is_answered_unless_that_passes_by_itself(passing: bool) -> None:
    desk = Desk(over("v3"))
    desk.shelf.put()
    desk.canaryd.words = [RETRY]
    desk.canaryd.answer = Refused([Problem("Deployment", "1 of 2 pods", "all", transient=passing)])
    standing = desk.look()
    assert (desk.canaryd.begun, desk.canaryd.obeyed) == ([], [] if passing else ["one"])
    assert standing is not None
    if not passing:
        assert standing.following.course is Course.REST
        assert standing.following.reason.startswith("release 'v3' is not run again: ")


def test_while_draining_nothing_begins_and_what_runs_goes_back() -> None:
    """And afterwards it begins again."""
    desk = Desk(flying())
    desk.shelf.put()
    desk.plans.drain("ada drains the cluster")
    desk.look()
    assert [order.reason for _, order in desk.canaryd.orders] == ["ada drains the cluster"]
    desk.plans.ticked(over("v3"))
    desk.shelf.put(release="v4")
    desk.look()
    assert desk.canaryd.begun == []
    desk.plans.drain("")
    desk.look()
    assert desk.canaryd.begun == ["v4"]


def test_nothing_begins_while_a_run_of_the_plan_cannot_be_read() -> None:
    """Nobody knows what it was about to do."""
    of_others = (("default/ratings", "ratings-1", "damaged"), ("shop/reviews", "reviews-v1", "damaged"))
    desk = Desk(unreadable=((KEY, "reviews-v2", "written by a later canaryd"), *of_others))
    desk.shelf.put()
    standing = desk.look()
    assert standing is not None
    assert "CanaryRun reviews-v2" in standing.problems
    assert "damaged" not in standing.problems
    assert desk.canaryd.begun == []


def test_old_runs_are_deleted_and_never_one_that_is_not_over() -> None:
    """The newest are kept."""
    desk = Desk(*(over(f"v{n}", created=float(n)) for n in range(1, 6)), flying("v9"), history=2)
    desk.shelf.put(release="v9")
    desk.look()
    assert desk.deleted == ["reviews-v1", "reviews-v2", "reviews-v3"]
    desk.look()
    assert len(desk.deleted) == 3


def test_a_leader_goes_on_with_what_it_finds() -> None:
    """Also with a run that has ended and left its marker; not with one that is over."""
    left = flying("v2", phase=Phase.PROMOTED, outcome=Outcome.PROMOTED)
    desk = Desk()
    desk.plans.start([over("v1"), left, flying("v3")])
    desk.plans.stop()
    assert desk.canaryd.carried == ["reviews-v2", "reviews-v3"]


def test_a_change_of_the_route_wakes_its_run() -> None:
    """And nobody else's."""
    desk = Desk(flying())
    desk.plans.route_changed("default", "ratings")
    assert desk.canaryd.woken == []
    desk.plans.route_changed("default", "reviews")
    assert desk.canaryd.woken == ["reviews-v3"]


def test_a_run_whose_object_is_deleted_is_let_go() -> None:
    """Its marker is for the orphans' desk."""
    desk = Desk(flying())
    desk.plans.gone("default", "reviews", "reviews-v3")
    assert desk.canaryd.let_go_of == ["reviews-v3"]
    assert desk.plans.in_flight() == []


def test_a_release_whose_run_was_deleted_is_not_run_again() -> None:
    """In mid-run or long after: nobody who deletes a run wants a release. The next one begins."""
    for run in (flying(), over("v3")):
        desk = Desk(over("v2", created=0.5), run)
        desk.shelf.put()
        desk.plans.gone("default", "reviews", "reviews-v3")
        desk.look()
        assert desk.canaryd.begun == []
        assert desk.noted == ["default/reviews v3"]
        desk.shelf.put(release="v4", annotations={"canaryd.io/settled": "v3"})
        desk.look()
        assert desk.canaryd.begun == ["v4"]


def test_a_plan_that_was_deleted_with_its_runs_begins_anew() -> None:
    """Applied again at once, it is another object of the same name."""
    desk = Desk(flying())
    desk.shelf.put()
    desk.look()
    desk.plans.gone("default", "reviews", "reviews-v3")
    desk.look()
    assert desk.canaryd.begun == []
    desk.shelf.put()
    desk.shelf.plans[KEY]["metadata"]["uid"] = "u-2"
    desk.look()
    assert desk.canaryd.begun == ["v3"]


def test_a_note_that_a_death_kept_from_being_written_is_made_good() -> None:
    """The annotation speaks of the run before: the last one is right."""
    desk = Desk(over("v2", created=0.5), over("v3"))
    desk.shelf.put(annotations={"canaryd.io/settled": "v2"})
    desk.look()
    assert (desk.noted, desk.canaryd.begun) == (["default/reviews v3"], [])


def test_what_was_settled_is_noted_in_the_plan_once() -> None:
    """So that it is known where the runs are gone."""
    desk = Desk(over("v3"))
    desk.shelf.put()
    desk.look()
    assert desk.noted == ["default/reviews v3"]
    desk.shelf.put(annotations={"canaryd.io/settled": "v3"})
    desk.look()
    assert len(desk.noted) == 1


def test_a_run_whose_object_is_deleted_during_its_tick_does_not_come_back() -> None:
    """It would be in flight for ever, and no release of the plan could begin."""
    desk = Desk(flying())
    desk.plans.gone("default", "reviews", "reviews-v3")
    desk.plans.ticked(flying())
    assert desk.plans.in_flight() == []


def test_a_run_that_appears_is_carried_out() -> None:
    """From a backup; what was begun here is known, and what is gone again by then is none."""
    desk = Desk()
    desk.shelf.put()
    desk.canaryd.stored = {"reviews-v3": flying()}
    desk.plans.appeared("default", "reviews", "reviews-v3")
    desk.plans.appeared("default", "reviews", "reviews-gone")
    desk.look()
    desk.look()
    assert desk.canaryd.carried == ["reviews-v3"]
    assert desk.canaryd.begun == []


def test_two_leaders_give_the_next_run_one_name() -> None:
    """The second of them cannot create it; another release, and the same one after another, is another run."""
    text = {"metadata": {"uid": "u-1"}}
    first = run_name(text, plan(5, 50), [])
    assert first == run_name(text, plan(5, 50), [])
    assert first.startswith("reviews-")
    others = [
        run_name(text, plan(5, 50, release="v4"), []),
        run_name(text, plan(5, 50), [over("v4")]),
        run_name({"metadata": {"uid": "u-2"}}, plan(5, 50), []),
    ]
    assert len({first, *others}) == 4
