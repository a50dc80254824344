"""
An API server in trouble: each call of a run meets each fault once, and the run ends as it would have.

All calls of a run meet the fault here, once each; `python -m tests.controller.faults` tries them one by one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from canaryd.model.run import Phase
from tests.controller.faults import CALLS, FAULTS, LOOKING, RUN, House, everywhere, in_the_run
from tests.controller.past import record_in
from tests.controller.stage import Stage

pytestmark = [pytest.mark.xdist_group("faults"), pytest.mark.slow]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with Stage(tmp_path_factory.mktemp("faults")) as stage:
        yield House(stage)


def test_the_calls_are_those_that_a_run_makes(house: House) -> None:
    """A call that is left out is a call that is not tried."""
    house.trial(lambda: None)
    assert house.stage.api
    asked = {(one.verb, one.resource) for one in house.stage.api.requests if one.verb != "watch"}
    ours = ("canaryplans", "canarypolicies", "canaryfreezes", "canaryruns", "canaryrecords")
    start = {("list", resource) for resource in ours}
    not_noted = {("list", "rollouts")}  # a kind that the lab does not serve
    assert asked - start - set(CALLS) - set(LOOKING) == set()
    assert set(CALLS) - not_noted - asked == set()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("story", ["healthy", "faulty", "abort"])
def test_every_call_meets_it_once(house: House, fault: str, story: str) -> None:
    """Promoted, rolled back, or aborted: as without it, and nothing is left in the VirtualService."""
    before = house.faults.hits
    house.trial(
        lambda: everywhere(house, fault),
        faulty=story == "faulty",
        abort=story == "abort",
        meanwhile=lambda: in_the_run(house, fault),
    )
    assert house.faults.hits > before + len(RUN) / 2, "the run met hardly any"


@pytest.mark.parametrize("fault", ["500", "hangs", "reset"])
def test_a_look_that_gets_no_answer_is_tried_again(house: House, fault: str) -> None:
    """Preflight reads two dozen kinds: one that fails once delays the release and decides nothing."""
    before = house.faults.hits
    house.trial(lambda: FAULTS[fault](house.faults, "list", "peerauthentications"))
    assert house.faults.hits > before


@pytest.mark.parametrize("way", ["cut", "410 at once", "410 in the stream", "500", "reset"])
def test_watches_end_and_go_on(house: House, way: str) -> None:
    """In mid-run, and an abort that comes meanwhile is heard."""
    stage = house.stage

    def cut() -> None:
        if way == "410 in the stream":
            stage.cluster.compact()
        stage.stop_api()
        stage.start_api()
        if way == "410 at once":
            house.faults.fail("watch", "*", 410, times=5)
        if way == "500":
            house.faults.fail("watch", "*", 500, times=10)
        if way == "reset":
            house.faults.reset("watch", "*", times=10)

    house.trial(lambda: house.past.once(record_in(Phase.BAKING), lambda: threading.Thread(target=cut).start()))
    house.trial(lambda: None, abort=True, meanwhile=cut)
