"""What a person reads: short where there is room for one line, and with the command that would do."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

from canaryd.controller.following import Course, Following
from canaryd.controller.plans import Standing
from canaryd.controller.telling import plan_event, plan_status
from canaryd.model.run import Outcome, Phase, command_line
from canaryd.store import objects
from tests.stage import new_run, plan

TEXT = {"metadata": {"name": "reviews", "namespace": "default", "generation": 3}}


def test_the_command_to_type_fits_the_first_command_and_each_later_one() -> None:
    """JSON Patch adds to the end of a list that is there; a CanaryRun begins with an empty one."""
    run = replace(new_run(plan(5, 50)), kept="canaryrun")
    *_, patch = shlex.split(command_line(run, "resume"))
    assert json.loads(patch) == [{"op": "add", "path": "/spec/commands/-", "value": {"verb": "resume", "by": "NAME"}}]
    assert objects.run_object(run)["spec"]["commands"] == []
    assert command_line(replace(run, kept=""), "approve") == "canaryd approve reviews"


def test_the_command_that_approves_names_its_gate() -> None:
    """Typed a minute late it must not open the next one."""
    run = replace(new_run(plan(5, 50)), kept="canaryrun", phase=Phase.BAKING, step=1)
    *_, patch = shlex.split(command_line(run, "approve"))
    assert json.loads(patch)[0]["value"] == {"verb": "approve", "step": 1, "by": "NAME"}


def test_why_a_run_was_promoted_is_its_first_finding_and_a_persons_reason_is_whole() -> None:
    """The figures of every check do not fit a line of `kubectl get`."""
    proven = "proven at 50 %: errors: canary 0 % of 5,811 requests; latency: no slower"
    run = replace(new_run(plan(5, 50)), phase=Phase.PROMOTED, outcome=Outcome.PROMOTED, reason=proven)
    assert objects.why_of(run) == "proven at 50 %: errors: canary 0 % of 5,811 requests"
    accepted = "unproven, accepted by the plan: night; nobody calls"
    assert objects.why_of(replace(run, reason=accepted, unproven="night; nobody calls")) == accepted


def test_of_several_problems_the_line_has_the_first_and_the_condition_all() -> None:
    """A newline would tear `kubectl describe` apart."""
    standing = Standing(TEXT, plan(5, 50), Following(Course.REST), "one is wrong\nanother too")
    status = plan_status(standing)
    assert status["why"] == "one is wrong (and 1 more, see the condition Accepted)"
    assert status["conditions"][0]["message"] == "one is wrong; another too"
    assert plan_event(standing) == ("PlanRefused", status["why"], True)


def test_beside_a_queued_release_stands_what_it_waits_for() -> None:
    """The line has the new release; what the present run waits for stands in the run's own."""
    run = replace(new_run(plan(5, 50)), waiting="baking at 5 %")
    queued = Following(Course.QUEUE, run, "release 'v4' waits", changed=True)
    assert plan_status(Standing(TEXT, plan(5, 50, release="v4"), queued))["why"] == "release 'v4' waits"
    assert plan_status(Standing(TEXT, plan(5, 50), Following(Course.REST, run)))["why"] == "baking at 5 %"
