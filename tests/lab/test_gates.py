"""
Gates on a real mesh: a receiver over real connections, an alert rule that a real Prometheus evaluates, and `kill -9`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from canaryd.lab.lab import Lab
from canaryd.lab.scenarios.format import read_scenario
from canaryd.lab.scenarios.player import Played, play
from canaryd.model.run import Outcome, Run
from canaryd.store.folder import FolderStore
from tests.gates.receiver import KEY, Receiver, receiving

pytestmark = [pytest.mark.lab, pytest.mark.xdist_group("lab"), pytest.mark.timeout(300)]
BOARD = "{webhooks: [{name: board, limit: 5m}]}"
UNPROVEN = "acceptUnproven: gates are tried here and no proofs"
STEPS = f"[{{weight: 10, bake: 6s}}, {{weight: 50, bake: 6s}}], {UNPROVEN}"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as found:
        hook = {"url": found.url, "namespaces": ["default"], "key": {"from_env": "BOARD_KEY"}, "every": 1}
        monkeypatch.setenv("BOARD_KEY", KEY)
        monkeypatch.setenv("CANARYD_WEBHOOKS", json.dumps({"board": hook}))
        yield found


def told(lab: Lab, folder: Path, plan: str, timeline: str, expect: str, watch: Callable[[Run], None]) -> Played:
    """A scenario played; ``watch`` sees the run again and again."""
    text = f"name: one\nabout: One.\nplan: {plan}\ntimeline: {timeline}\nexpect: {expect}\n"

    def look(state: Path) -> None:
        for record in FolderStore(state).records():
            watch(record.run)

    return play(lab, read_scenario(text), folder, watch=look)


def check(played: Played) -> None:
    assert played.as_expected, "\n".join(map(str, played.lines))


def test_a_run_waits_for_its_receiver_through_a_death_and_is_promoted(
    lab: Lab, tmp_path: Path, receiver: Receiver
) -> None:
    """Killed at the gate; the same question goes on, and after its yes nobody is asked again."""
    receiver.says(423, {"reason": "no reviewer yet"})

    def watch(run: Run) -> None:
        if len(receiver.asked) >= 6 and run.hold:
            receiver.says(200)

    played = told(
        lab,
        tmp_path,
        f"{{steps: {STEPS}, gates: {{promotion: {BOARD}, end: [board]}}}}",
        "[{at: {phase: held, after: 2s}, kill: {again: 2s}}]",
        "{ending: promoted, told: [run.held, gate.answered]}",
        watch,
    )
    check(played)
    assert played.run is not None
    asked = [one for one in receiver.ids if not one.endswith("_end_board")]
    assert set(asked) == {f"{played.run.uid}_0_promotion_board"}
    assert len(asked) >= 6
    assert receiver.ids[-1] == f"{played.run.uid}_0_end_board"
    assert receiver.asked[-1].event["data"]["outcome"] == "promoted"


def test_a_no_takes_the_canary_back_at_once(lab: Lab, tmp_path: Path, receiver: Receiver) -> None:
    """Said while users meet the canary: observed on their requests, and nothing of ours is left."""
    receiver.says(423)

    def watch(run: Run) -> None:
        if len(receiver.asked) >= 3:
            receiver.says(200, {"verdict": "no", "reason": "incident 12"})

    played = told(
        lab,
        tmp_path,
        f"{{steps: [{{weight: 10, bake: 6s, gate: {BOARD}}}, {{weight: 50, bake: 6s}}], {UNPROVEN}}}",
        "[]",
        '{ending: aborted, before: 50, reason: "webhook board said no before 50 %: incident 12"}',
        watch,
    )
    check(played)


def test_an_alert_that_fires_keeps_the_canary_from_more(lab: Lab, tmp_path: Path) -> None:
    """A rule of this Prometheus: it fires while another version is slow to answer, and the run goes on after that."""
    alert = "{alert: {names: [TooMany], labels: {severity: page}, limit: 3m}}"
    lab.prometheus.set_rules(TooMany='label_replace(vector(1), "severity", "page", "", "")')
    seen: list[str] = []

    def watch(run: Run) -> None:
        if run.hold and "an alert fires" in run.hold.why and not seen:
            seen.append(run.waiting)
            lab.prometheus.set_rules(TooMany="vector(1) > 2")

    try:
        played = told(
            lab,
            tmp_path,
            f"{{steps: [{{weight: 10, bake: 6s, gate: {alert}}}, {{weight: 50, bake: 6s}}], {UNPROVEN}}}",
            "[{at: {phase: held, after: 1s}, kill: {again: 1s}}]",
            "{ending: promoted, told: [run.held, gate.answered]}",
            watch,
        )
    finally:
        lab.prometheus.set_rules()
    check(played)
    assert seen
    assert 'an alert fires: TooMany{severity="page"}' in seen[0]


def test_an_alert_without_a_rule_is_refused(lab: Lab, tmp_path: Path) -> None:
    """Found before anything moves: such a gate would guard nothing."""
    played = told(
        lab,
        tmp_path,
        f"{{steps: {STEPS}, gates: {{promotion: {{alert: {{names: [Nobody]}}}}}}}}",
        "[]",
        '{ending: refused, reason: "Prometheus has no rule for the alert Nobody"}',
        lambda _: None,
    )
    check(played)


def test_a_receiver_that_the_settings_do_not_know_is_refused(lab: Lab, tmp_path: Path) -> None:
    """With the path in the plan, and what to do."""
    played = told(
        lab,
        tmp_path,
        f"{{steps: {STEPS}, gates: {{start: {BOARD}}}}}",
        "[]",
        '{ending: refused, reason: [spec.gates.start.webhooks.0.name, "a webhook of the settings (webhooks)"]}',
        lambda _: None,
    )
    check(played)
    assert played.run is None or played.run.outcome is not Outcome.PROMOTED
