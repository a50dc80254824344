"""
Plant violations of the rules, one at a time, and see that a test catches each.

    python tools/plant.py            plant all of them, two at a time; prints a table
    python tools/plant.py latch      only those whose name contains a word
    python tools/plant.py --check    only whether each still applies

A test that passes whatever the code does guards nothing. Each plant is a change of the product's text in a copy of the
tree; the tests named with it must fail there. A plant whose text is not found any more is an error, too: move it along
when the code moves. Exits non-zero when a plant survives or does not apply.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

TREE = Path(__file__).resolve().parent.parent
COPIED = ("canaryd", "tests", "tools", "docs", "pyproject.toml", "README.md")
AT_ONCE = 2
DEADLINE = 300.0

MACHINE, SEVERAL = "tests/test_machine.py", "tests/test_machine_several.py"
RETURNING = "tests/test_machine_returning.py"
UNDOING = "tests/engine/test_undoing.py"
ENGINE = "tests/engine/test_reconciler.py"
DEATHS = "tests/engine/test_deaths.py"
STORE = "tests/contracts/test_store.py"
SCHEDULER = "tests/engine/test_scheduler.py"
WEIGHTS, MATCHING = "tests/mesh/test_weights.py", "tests/mesh/test_matching.py"
EXPOSURE = "tests/judge/test_exposure.py"
UNATTRIBUTED = "tests/judge/test_unattributed.py"
PARSE = "tests/metrics/test_parse.py"
METRICS = "tests/contracts/test_metrics.py"
FAILURES = "canaryd/model/failures.py"
PORTIONS = "tests/judge/test_portions.py"
REPORTER = "tests/engine/test_reporter.py"
JUDGE = "tests/judge"
E_VALUES = "tests/judge/test_e_values.py"
PAIRS, OBJECTIVES = "tests/judge/test_custom.py", "tests/judge/test_objectives.py"
CUSTOM = "canaryd/judge/custom.py"
ASKED, QUERIES, VARIABLES = "tests/judge/test_asked.py", "tests/model/test_queries.py", "canaryd/model/variables.py"
VERDICT = "tests/judge/test_verdict.py"
ARITHMETIC = "tests/judge/test_arithmetic.py"
DISPERSION = "tests/judge/test_dispersion.py"
HISTOGRAM = "tests/judge/test_histogram.py"
POWER = "tests/judge/test_power.py"
ALONE = "tests/cli/test_judge_command.py"
HOSTILE = "tests/cli/test_judge_hostile.py"
POLICY, SHOW = "tests/model/test_policy.py", "tests/cli/test_show.py"
OBSERVING = "tests/engine/test_observing.py"
WEBHOOK = "tests/lab/test_webhook.py"
SCHEMAS, GATEWAY_API = "tests/lab/test_kubernetes_istio.py", "tests/lab/test_gatewayapi.py"


GATES, DOOR = "tests/test_machine_gates.py", "tests/engine/test_doorkeeper.py"
RECEIVERS, SENT, FIRING = (
    "tests/contracts/test_webhooks.py",
    "tests/gates/test_webhooks.py",
    "tests/contracts/test_alerts.py",
)
PAGE, PAGES = "tests/web/test_security.py", "tests/web/test_pages.py"
DESK, DESKS, DESK_TERMINAL = "tests/contracts/test_desk.py", "tests/cli/test_desk.py", "tests/cli/test_desk_terminal.py"
POSTED, COURIER, OUTBOX = (
    "tests/engine/test_posting.py",
    "tests/engine/test_courier.py",
    "tests/engine/test_messages.py",
)
TOLD, CHANNELS = "tests/notify/test_channels.py", "tests/contracts/test_channels.py"
HARM, HARMED = "tests/test_machine_harm.py", "tests/judge/test_harmed.py"
ORPHANS, CONTROLLER = "tests/controller/test_orphans.py", "tests/controller/test_controller.py"
FENCING, FOLDER = "tests/controller/test_fencing.py", "tests/controller/test_folder.py"
ELECTOR, CLUSTER = "tests/cluster/test_elector.py", "tests/store/test_cluster.py"
EXAMINED = "tests/engine/test_preflight.py"
BARRING, BARS, FREEZES = (
    "tests/test_machine_barring.py",
    "tests/model/test_guards.py",
    "tests/contracts/test_freezes.py",
)
WORDS, GROUNDED = "tests/test_machine_asked.py", "tests/test_machine_grounds.py"
LINKED, TRACED, MARKS = (f"tests/neighbours/test_{one}.py" for one in ("links", "traces", "annotations"))
FOLLOWING, PLANS = "tests/controller/test_following.py", "tests/controller/test_plans.py"


@dataclass(frozen=True)
class Plant:
    """``old`` becomes ``new`` in ``file``, once; one of ``tests`` has to fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = (MACHINE,)
    only: str = ""
    """An expression for pytest's -k."""


def machine(name: str, old: str, new: str, *tests: str) -> Plant:
    """A plant in whichever room of the machine holds its text."""
    rooms = [path for path in sorted((TREE / "canaryd/machine").glob("*.py")) if old in path.read_text()]
    file = rooms[0].relative_to(TREE).as_posix() if len(rooms) == 1 else "canaryd/machine/__init__.py"
    return Plant(name, file, old, new, tests or (MACHINE,))


def passing(name: str, old: str, new: str, *tests: str) -> Plant:
    return Plant(name, "canaryd/model/passing.py", old, new, tests or (MACHINE,))


def reconciler(name: str, old: str, new: str, *tests: str) -> Plant:
    return Plant(name, "canaryd/engine/reconciler.py", old, new, tests or (ENGINE,))


def posting(name: str, old: str, new: str, *tests: str) -> Plant:
    return Plant(name, "canaryd/engine/posting.py", old, new, tests)


def courier(name: str, old: str, new: str, *tests: str) -> Plant:
    return Plant(name, "canaryd/engine/courier.py", old, new, tests)


def neighbour(name: str, room: str, old: str, new: str, tests: str) -> Plant:
    return Plant(f"neighbour: {name}", f"canaryd/neighbours/{room}.py", old, new, (tests,))


def layers(name: str, old: str, new: str) -> Plant:
    return Plant(name, "canaryd/model/layers.py", old, new, (POLICY, SHOW), only="not run")


def observing(name: str, old: str, new: str) -> Plant:
    return Plant(name, "canaryd/engine/observing.py", old, new, (OBSERVING,))


def fencing(name: str, old: str, new: str) -> Plant:
    """A plant in what stops a leader that was away; found out on the mesh in memory."""
    return Plant(name, "canaryd/mesh/weights.py", old, new, ("tests/contracts/test_mesh.py",), only="memory")


def following(name: str, old: str, new: str) -> Plant:
    return Plant(name, "canaryd/controller/following.py", old, new, (FOLLOWING,))


def plans(name: str, old: str, new: str) -> Plant:
    return Plant(name, "canaryd/controller/plans.py", old, new, (PLANS,))


def guarding(name: str, old: str, new: str) -> Plant:
    return Plant(name, "canaryd/engine/guarding.py", old, new, ("tests/engine/test_guarding.py",))


def undoing(name: str, old: str, new: str) -> Plant:
    return Plant(name, "canaryd/engine/undoing.py", old, new, (UNDOING,))


def orphans(name: str, old: str, new: str) -> Plant:
    return Plant(name, "canaryd/mesh/orphans.py", old, new, ("tests/mesh/test_orphans.py",))


def judge(name: str, file: str, old: str, new: str, *tests: str) -> Plant:
    """A plant in a room of the judge."""
    return Plant(name, f"canaryd/judge/{file}.py", old, new, tests or (VERDICT,))


def webhook(name: str, file: str, old: str, new: str) -> Plant:
    """A plant in what Istio refuses in the lab."""
    return Plant(name, f"canaryd/lab/kubernetes/webhook/{file}.py", old, new, (WEBHOOK,))


def preflight(name: str, file: str, old: str, new: str, test: str = "") -> Plant:
    """A plant in one of preflight's checks, or in what several of them look at."""
    return Plant(name, f"canaryd/preflight/{file}.py", old, new, (f"tests/preflight/test_{test or file}.py",))


PLANTS = (
    # rule 6: a gap is not evidence
    machine("a downtime is a gap", "run.arrived_at or 0.0, seen.since)", "run.arrived_at or 0.0)"),
    # rule 3: the mesh is only observed
    machine(
        "marker not compared",
        "    if (seen.split, seen.match) != (marker.split, marker.match):\n        return Standing.DRIFT\n",
        "",
    ),
    machine(
        "split compared with the observed one",
        "return Standing.ARRIVED if wanted else Standing.DRIFT",
        "return Standing.ARRIVED",
    ),
    machine(
        "old object put back is sent again",
        "return Standing.LOST if run.arrived_at is None else Standing.DRIFT",
        "return Standing.LOST",
    ),
    machine("retreat with a lost save not adopted", "    adopted = _adopt(run, seen, told)\n", "    adopted = run\n"),
    machine("latch not adopted", "        return replace(run, latch=Latch(kind, marker.reason, marker.at))\n", "        return run\n"),
    machine("newer marker that rises adopted", " or marker.split > run.split", ""),
    # policies: a plan's word goes before its policy's, and a policy's own keys are never a plan's
    layers("a policy goes before the plan", "    for layer in reversed(layers):\n        spec", "    for layer in layers:\n        spec"),
    layers("lists of two layers are mixed", "    if not isinstance(upper, Mapping) or not isinstance(lower, Mapping):\n", "    if isinstance(upper, list) and isinstance(lower, list):\n        return [*upper, *lower[len(upper) :]]\n    if not isinstance(upper, Mapping) or not isinstance(lower, Mapping):\n"),
    layers("a policy releases", "if key not in OWN}", "if key != \"target\"}"),
    layers("an unknown policy is none", "(policies is None or named not in policies)", "policies is None"),
    layers("a fault of a policy is the plan's", "    if not any(layer.name for layer in found):\n", "    if True:\n"),
    layers("two spellings of a key do not meet", "        return {_camel(key): _spelt(value)", "        return {key: _spelt(value)"),
    Plant("steps of a policy end anywhere", "canaryd/model/policy.py", "        if steps and not getattr", "        if False and not getattr", (POLICY,)),
    Plant("a policy's defaults are its word", "canaryd/model/policy.py", "by_alias=True, exclude_unset=True)", "by_alias=True)", (POLICY,)),
    Plant("where a value came from changes the plan", "canaryd/model/plan.py", ", exclude={\"spec\": {\"from_\"}}", "", (POLICY,)),
    Plant("everything is the plan's word", "canaryd/report/effective.py", "    return str(layer) if layer else DEFAULT\n", "    return \"plan\"\n", (SHOW,), only="in_force"),
    # who observes writes nothing
    reconciler("an observing run writes", "        if write is None or record.run.plan.observes:\n", "        if write is None:\n", OBSERVING),
    reconciler("an observing run releases", "            if not run.plan.observes:\n                self._mesh.release", "            if True:\n                self._mesh.release", OBSERVING),
    reconciler("what would be written was written", "\"wrote\": \"\" if run.plan.observes else marker,", "\"wrote\": marker,", OBSERVING),
    reconciler("cells are expected at the wanted split", "            cells = as_measured(cells, mesh)\n", "            pass\n", OBSERVING),
    observing("an entry that is gone is made up", "split = None if mesh.split is None and run.exposed else run.split", "split = run.split"),
    observing("others' weights are drift", "return replace(mesh, split=split, highest=split, marker=_marker(run), match=run.match, parts=())", "return replace(mesh, marker=_marker(run))"),
    observing("a rollback waits for a mesh that cannot be read", " if run.seq > 0 and not run.exposed else mesh", " if False else mesh"),
    observing("a sentence grows at each tick", "    said = _SAID.sub(\"\", run.waiting)\n", "    said = run.waiting\n"),
    Plant("the process's mode is ignored", "canaryd/engine/admission.py", "    plan = plan.in_mode(mode)\n    records", "    records", (OBSERVING,)),
    Plant("an observed release is settled", "canaryd/engine/admission.py", "    return plan.observes or not run.plan.observes\n", "    return True\n", (OBSERVING,)),
    Plant("an active plan starts beside another tool", "canaryd/mesh/admission.py", "    if plan.observes:\n        remarks +=", "    if True:\n        remarks +=", (OBSERVING, "tests/mesh/test_admission.py")),
    Plant("an observing plan is rehearsed", "canaryd/mesh/virtualservice.py", "        if not writes:\n            return admitted\n", "", ("tests/contracts/test_mesh.py",), only="emulator and observes"),
    Plant("an observing plan observes what is no split", "canaryd/mesh/admission.py", "(problems if sighting.split is None else forgiven)", "forgiven", (OBSERVING,)),
    # a leader that was away
    following("a settled release is run again", "    if former := settled_by(plan, runs):\n", "    if (former := settled_by(plan, runs)) and False:\n"),
    following("a note in the plan counts for nothing", "    if release == settled:\n", "    if False:\n"),
    following("a revert in mid-run is a release", "    if former := settled_by(plan, before):\n", "    if (former := settled_by(plan, before)) and False:\n"),
    following("a queued release replaces", '    if policy == "queue" or run.latch:\n', "    if run.latch:\n"),
    following("a refused release waits", '    if policy == "refuse" or release == turned_down:\n', "    if release == turned_down:\n"),
    following("what was turned down is run after the end", "    if release == turned_down:\n", "    if False:\n"),
    following("a run that goes back is aborted again", "    if run.latch or run.final:\n", "    if run.final:\n"),
    following("an unreadable plan ends its run", "    if plan is None:\n        return Following(Course.REST, current or last)\n", "    if plan is None:\n        return deleted(runs)\n"),
    following("a deleted plan leaves its run", '    return _ended(current, "the plan was deleted") if current else Following(Course.REST)\n', "    return Following(Course.REST)\n"),
    following("something begins while draining", "        return _ended(current, draining) if current else Following(Course.REST, last, draining)\n", "        return _ended(current, draining) if current else Following(Course.BEGIN, last)\n"),
    following("an ended run with its marker is over", "    return run.final and run.released\n", "    return run.final\n"),
    Plant("two plans begin on one entry at one moment", "canaryd/engine/admission.py", "(*_promised(plan, admission, records), *looked.problems,", "(*looked.problems,", ("tests/engine/test_admission.py",)),
    Plant("a Lease is valid beyond its deadline", "canaryd/cluster/elector.py", "                and not self._stopping.is_set()\n                and self._clock() < self._renewed + self._deadline\n", "                and not self._stopping.is_set()\n", (ELECTOR,)),
    Plant("who leads no more ticks on", "canaryd/app.py", "        if not self._may() and not self._retreats_still(uid):\n            return\n", "", ("tests/test_app.py",)),
    Plant("a lost Lease ends a rollback", "canaryd/app.py", "        return run is not None and run.latch is not None and not run.final\n", "        return False\n", ("tests/test_app.py",)),
    Plant("a record is saved over another's", "canaryd/store/objects.py", '        meta["resourceVersion"] = resource_version\n', "        pass\n", (CLUSTER,), "not real"),
    Plant("a run restored without its record begins", "canaryd/store/objects.py", "    if made - created <= RESTORED_AFTER:\n", "    if True:\n", (CLUSTER,), "not real"),
    Plant("a woken leader begins a release twice", "canaryd/controller/plans.py", "name = run_name(standing.text, plan, desk.runs.values())", "name = \"\"", (FENCING,), "beginning"),
    Plant("an orphan of a laptop is rolled back", "canaryd/controller/orphans.py", ' and orphan[1].kept == "canaryrun"', "", (ORPHANS,)),
    Plant("an orphan goes where nobody is ready", "canaryd/controller/orphans.py", "            if not self._mesh.sides(route).stable.ready:\n", "            if False:\n", (ORPHANS,)),
    Plant("what cannot be asked is an orphan", "canaryd/controller/orphans.py", "        except CanarydError:\n            return  # what", "        except CanarydError:\n            orphaned = left  # what", (ORPHANS,)),
    Plant("who leads no more rolls orphans back", "canaryd/controller/orphans.py", "        if not self._may():\n            return\n", "", (ORPHANS,)),
    Plant("a plan is pruned while a file is broken", "canaryd/controller/folder.py", "        if wanted and not broken:\n", "        if wanted:\n", (FOLDER,), "broken"),
    Plant("an empty folder prunes every plan", "canaryd/controller/folder.py", "        if wanted and not broken:\n", "        if not broken:\n", (FOLDER,), "released"),
    Plant("what comes while a tick rests is lost", "canaryd/engine/scheduler.py", "            if uid in self._again:\n                return False\n", "", (SCHEDULER,)),
    Plant("an aborted run waits for an object that is gone", "canaryd/machine/retreat.py", "        if isinstance(seen.mesh, Unseen) and not seen.mesh.gone:\n", "        if isinstance(seen.mesh, Unseen):\n", (MACHINE,)),
    Plant("a run that lost its memory ends unseen", "canaryd/machine/retreat.py", "        if isinstance(seen.mesh, Unseen) and not seen.mesh.gone:\n", "        if False:\n", (MACHINE,)),
    plans("a plan begins beside a run that cannot be read", "            if damaged := self._damaged(key):\n", "            if False:\n"),
    plans("a refused plan is tried at each look", "        if self._waits(desk, plan):\n", "        if False:\n"),
    plans("another text waits for a backoff", "bool(desk.refused) and desk.of == plan.digest and", "bool(desk.refused) and"),
    plans("a deleted run is begun again", "            desk.settled = run.plan.spec.release\n        # Also", "            pass\n        # Also"),
    plans("runs are kept for ever", "        for run in over[: max(0, len(over) - self._history)]:\n", "        for run in []:\n"),
    plans("a leader leaves what it finds", "        for run in known:\n            if not is_over(run):\n                self._go_on(run)\n", ""),
    plans("a change of the route wakes nobody", "                    self._canaryd.wake(run.uid)\n", "                    pass\n"),
    fencing("a late retreat takes a younger run's traffic", "own.run != marker.run and own.born > marker.born else", "False else"),
    fencing("an older marker blocks a rollback", "own.run != marker.run and own.born > marker.born else", "own.run != marker.run else"),
    fencing("a late retreat takes another plan's traffic", "other.born > marker.born and (claimed & ours or not claimed)", "False"),
    fencing("a marker may come between read and patch", "    return [_test(_annotation(marker_key(route.plan)), annotations_of(virtual_service).get(marker_key(route.plan)))]\n", "    return []\n"),
    Plant("a late shift is sent", "tests/mesh/memory.py", "        if found[\"metadata\"][\"resourceVersion\"] != seen.version:\n", "        if False:\n", ("tests/contracts/test_mesh.py",), only="memory and woke or memory and wakes"),
    Plant("an adapter sends a late shift", "canaryd/mesh/virtualservice.py", "        if _version(found) != seen.version:\n", "        if False:\n", ("tests/contracts/test_mesh.py",), only="emulator and wakes"),
    # from the object alone
    orphans("an orphan's entries are those that look like it", "    found = [_entry(name, present) for name in known] if known else _with_its_split(virtual_service, route, marker)\n", "    found = [one.entry for one in present if one.to(marker.canary, route.namespace)]\n"),
    orphans("what is another's split is the orphan's", "_split_at(virtual_service, whole, entry) == marker.split]", "True]"),
    orphans("the glass leaves our annotations", "    if not ours:\n", "    if True:\n"),
    orphans("weights that moved are as decided", "    if seen.split != split:\n", "    if False:\n"),
    # rule 4: order, latch
    reconciler(
        "patch before save toward the canary",
        "        saved = self._saved(changed)\n        if saved.version",
        "        if isinstance(seen.mesh, Sighting):\n            self._mesh.shift(changed.run.route, write.marker, seen.mesh)\n"
        "        saved = self._saved(changed)\n        if saved.version",
    ),
    reconciler(
        "save before patch toward stable",
        "            self._fall_back(decision.run, write)\n            record = self._saved(changed)\n",
        "            record = self._saved(changed)\n            self._fall_back(decision.run, write)\n",
    ),
    reconciler("failed save ignored toward the canary", "saved.version == changed.version or ", ""),
    reconciler(
        "failed save stops a rollback",
        "        except CanarydError as error:\n            log.warning(\"store.save_failed\"",
        "        except Rejected as error:\n            log.warning(\"store.save_failed\"",
    ),
    machine(
        "latch dropped",
        "answer = roll_back(run, seen) if run.latch else _go_on",
        "answer = roll_back(run, seen) if run.latch and run.evidence and run.evidence.failure else _go_on",
    ),
    machine(
        "abort does not latch",
        "    return replace(run, latch=Latch(\"abort\", reason, seen.now, command.force))\n",
        "    return run\n",
    ),
    # rule 5: only PASS advances
    passing("PASS without proof", "promotes and not evidence.proven", "False and not evidence.proven"),
    passing("suspicious ignored", "    if evidence.suspicious:\n", "    if False and evidence.suspicious:\n"),
    passing("objective in doubt ignored", "    if not evidence.objectives_hold:\n        return", "    if False:\n        return"),
    passing("too few requests pass", "    if evidence.canary_requests < least:\n", "    if evidence.canary_requests < 0:\n"),
    machine("canary not ready gets more", "if not seen.sides.canary.rolled_out or seen.sides.canary.ready == 0:", "if False:"),
    passing("doubt of the judge ignored", "    if evidence.doubt:\n", "    if False:\n"),
    machine("proof from an earlier weight", "evidence is None or evidence.segment != run.segment.index", "evidence is None"),
    machine("limit raises the weight", "hold.then != \"rollback\":\n        return None", "hold.then != \"never\":\n        return None"),
    machine("evidence ends a step in doubt", "return evidence.proven and not _doubt(run, seen)", "return evidence.proven"),
    machine("evidence ends a step at once", "baked * run.plan.spec.analysis.cell < step.least", "False"),
    Plant("one of several objects that went back is drift for ever", "canaryd/machine/returning.py", "part.split == NOTHING or standing(run, part) is Standing.ARRIVED for", "part.split == NOTHING for", (SEVERAL,)),
    machine("gate not asked", "    if waits := gates.kept(run, seen):\n        return waits\n    return _promote", "    return _promote"),
    machine("promoted without watching", "        return Decision(replace(run, waiting=f\"watching at 100 % for", "        pass\n    if False:\n        return Decision(replace(run, waiting=f\"watching at 100 % for"),
    machine("weight from outside the plan", "shifted_to(ahead, seen, ahead.current_step.weight,", "shifted_to(ahead, seen, Split(min(99_000, ahead.current_step.weight.canary * 2)),"),
    # rule 6: gaps and dead canaries
    Plant("gap counted as a cell of the bake", "canaryd/model/run.py", "if isinstance(cell, Cell) and cell.settled and", "if cell.settled and"),
    machine("blind advances", "    return seen.blind or gap or (", "    return gap or ("),
    machine("unready canary ignored", "seen.now - run.unready_since >= UNREADY_FOR", "False"),
    machine("unready once is dead", "UNREADY_FOR = 1.0", "UNREADY_FOR = 0.0"),
    Plant("unsettled cells baked", "canaryd/model/cells.py", "segment.ours and start >= segment.origin + settle", "segment.ours"),
    # rule 7: nothing blocks a rollback
    machine("no way back ignored", "    if why := no_way_back(run, seen):\n", "    if False and (why := \"\"):\n"),
    machine("retreat in flight taken for granted", "    return not run.exposed and run.arrived_at is not None\n", "    return True\n"),
    machine("final without settle", "(run.arrived_at or seen.now) >= run.settle:\n", "(run.arrived_at or seen.now) >= 0:\n"),
    Plant("retreat guarded by resourceVersion", "canaryd/mesh/weights.py", "    if guard is Guard.OBJECT:\n        return guarded", "    if guard:\n        return guarded", (WEIGHTS,)),
    reconciler("a look that fails blocks the tick", "mesh = _or_unseen(lambda: self._mesh.look(run.route))", "mesh = self._mesh.look(run.route)"),
    reconciler("released before the end is saved", "        if self._known.get(run.uid) != record:\n            return record\n", ""),
    # rule 8: drift
    machine("drift up kept", "(mesh.most > run.split or wider) and possible and", "False and"),
    machine("drift up not held", "reason=why)\n        held = held_for(sent.run, seen, \"drift\", why, sticky=True)", "reason=why)\n        held = sent.run"),
    machine("drift down overwritten", "\"reassert\" in (to_drift, policy)", "True"),
    machine("marker taken out is no drift", "        return Standing.LOST if untouched and _never_arrived(run) else Standing.DRIFT", "        return Standing.ARRIVED"),
    Plant("foreign segment counted as bake", "canaryd/model/cells.py", "segment.ours and start >=", "start >="),
    # rule 10: cells
    Plant("a cell across a weight change", "canaryd/model/cells.py", "<= limit:", "<= limit + cell / 2:", (MACHINE, DEATHS)),
    Plant("cells evaluated twice", "canaryd/model/cells.py", "position = round((done[1] - segment.origin) / cell)", "position = max(0, round((done[1] - segment.origin) / cell) - 1)", (MACHINE, "tests/test_machine_properties.py")),
    machine("history drops a segment that had traffic", "standing(run, mesh) is not Standing.LOST", "False"),
    # rules 11 to 13, commands
    machine("new canary image ignored", "if changed := canary_changed(run, seen):", "if False and (changed := canary_changed(run, seen)):"),
    machine("new stable image ignored", "if changed := stable_changed(run, seen):", "if False and (changed := stable_changed(run, seen)):"),
    machine("command obeyed twice", "command.id in run.obeyed or", "False or"),
    machine("stale command obeyed", "command.step is not None and command.step != (run.place if command.verb == \"approve\" else run.step)", "False"),
    machine("final moves on", "    if run.final:\n        return", "    if run.final and run.released:\n        return"),
    # the shell
    Plant("wake during a tick lost", "canaryd/engine/scheduler.py", "                self._again.add(uid)\n", "", (SCHEDULER,)),
    Plant("two ticks of one run", "canaryd/engine/scheduler.py", "                self._again.add(uid)\n                return\n", "                pass\n", (SCHEDULER,)),
    Plant("collector asks in a hot loop", "canaryd/engine/collector.py", "news = uid not in self._blind", "news = True", (ENGINE,)),
    Plant("save without compare", "canaryd/store/folder.py", "if present != record.version:", "if False:", (STORE,)),
    Plant("save without rename", "canaryd/store/folder.py", "    fresh = path.with_suffix(\".new\")\n", "    fresh = path\n", (STORE,)),
    # metrics and judge
    Plant("gRPC failure on HTTP 200 not counted", FAILURES, "status.isdigit() and int(status) in self.grpc", "False", (PARSE,)),
    Plant("4xx that the plan counts is none", FAILURES, "or f\"{code[0]}xx\" in self.http", "or (code[0] == \"5\" and \"5xx\" in self.http)", (METRICS,), only="memory"),
    Plant("code that the plan spares is a failure", FAILURES, "if f\"{_NOT}{code}\" in self.http:", "if False:", (METRICS,), only="memory"),
    Plant("no answer counts only where it is listed", FAILURES, "code == NO_ANSWER or (", "(", ("tests/model/test_failures.py",)),
    Plant("plan hides a dead canary", "canaryd/metrics/parse.py", "unreachable = Failures(grpc=(*sought.grpc_failures, UNAVAILABLE))", "unreachable = sought.failures", (METRICS,), only="memory"),
    Plant("where ends its quotes", "canaryd/metrics/promql.py", 'f",{label}={text(values[0])}" if len', 'f",{label}=\\"{values[0]}\\"" if len', ("tests/metrics/test_promql.py",)),
    Plant("where restricts one side only", "canaryd/metrics/parse.py", "of_plan = _by_side(_checked(answers.counted, \"requests\"), sought) if sought.where else sides", "of_plan = {**sides, \"canary\": _by_side(answers.counted, sought)[\"canary\"]} if sought.where else sides", (METRICS,), only="memory"),
    Plant("share asked of the requests that count", "canaryd/model/cells.py", "return self.canary.requests if self.whole is None else self.whole[1]", "return self.canary.requests", (PORTIONS,)),
    Plant("check counts what all count", "canaryd/judge/verdict.py", "    if check.apart:\n", "    if False:\n", (PORTIONS,)),
    Plant("route's check takes the whole's share", "canaryd/judge/shares.py", "check.compares and check.apart and", "False and", (PORTIONS,)),
    Plant("route without a request passes", "canaryd/judge/readings.py", "if check.apart and decides and not one.level.seconds:", "if False:", (PORTIONS,)),
    Plant("rare route is proven or nothing is", "canaryd/model/check.py", "self.metric in _ALLOWED and not self.apart", "self.metric in _ALLOWED", (PORTIONS,)),
    Plant("route's bursts are the service's", "canaryd/judge/portions.py", "return replace(one, failing=scattered(", "return replace(one, note=\"\") or (scattered(", (PORTIONS,)),
    Plant("refused part costs the cell", "canaryd/metrics/prometheus.py", "            return str(error)\n        return f\"Prometheus gave a partial answer: {answer.partial}\" if answer.partial else answer.rows\n\n    def _number", "            raise\n        return f\"Prometheus gave a partial answer: {answer.partial}\" if answer.partial else answer.rows\n\n    def _number", ("tests/metrics/test_prometheus.py",)),
    Plant("both reporters counted", "canaryd/metrics/promql.py", "    return f'{REQUESTS}{{reporter=\"{sought.reporter}\",destination_service=~{_any_of(sought.hosts)}}}'", "    return f'{REQUESTS}{{reporter=~\"source|waypoint\",destination_service=~{_any_of(sought.hosts)}}}'", (METRICS,), only="memory"),
    Plant("a waypoint's nobody is somebody", "canaryd/metrics/parse.py", '(UNKNOWN,) if sought.reporter == "source" else (UNKNOWN, "")', "(UNKNOWN,)", (METRICS,), only="memory"),
    Plant("a saved plan reads another reporter", "canaryd/model/plan.py", 'reporter="waypoint" if self.reporter == "waypoint" else "source"', 'reporter="source" if self.reporter == "source" else "waypoint"', (REPORTER,)),
    Plant("reporter chosen anew", "canaryd/engine/admission.py", "    plan = plan.reported_by(looked.reporter)\n    run = replace(", "    run = replace(", (REPORTER,)),
    Plant("host that was called is not ours", "canaryd/metrics/promql.py", "return (*sought.hosts, *filter(None, (sought.called,)))", "return sought.hosts", (METRICS,), only="memory"),
    Plant("record of hosts cannot be read", "canaryd/model/plan.py", 'pattern=r"^([a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?)?$")] = ""', 'pattern=r"^[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$")] = ""', ("tests/model/test_failures.py",)),
    Plant("service over both is no way", "canaryd/mesh/route.py", "return host == over or any(", "return any(", ("tests/mesh/test_hosts_split.py",)),
    Plant("failures without a workload ignored", "canaryd/metrics/parse.py", "_workload(row) in nobody and unreachable.", "False and unreachable.", (METRICS,), only="memory"),
    Plant("injected delays counted as latency", "canaryd/metrics/parse.py", " and not {\"FI\", \"DI\"} & _flags(row)", "", (METRICS,), only="memory"),
    Plant("sign of the e-value", "canaryd/judge/errors.py", "- allowance * bet[2]", "+ allowance * bet[2]", (JUDGE,)),
    Plant("bound of harm ten times too low", "canaryd/judge/verdict.py", "    if state.harm < 1 / analysis.alpha:\n", "    if state.harm < 0.1 / analysis.alpha:\n", (JUDGE,)),
    Plant("leap within one cell not confirmed", "canaryd/judge/verdict.py", "    if harm > clip and", "    if False and", (VERDICT,)),
    Plant("proof kept across weights", "canaryd/judge/comparison.py", "return replace(one, proof=Proof(), level", "return replace(one, level", (JUDGE,)),
    Plant("sign of a pair", CUSTOM, "log1p(bet * weight(abs(excess), former) * _sign(excess))", "log1p(-bet * weight(abs(excess), former) * _sign(excess))", (PAIRS,)),
    Plant("rank of a pair knows its sign", CUSTOM, "weight(abs(excess), former)", "weight(excess, former)", (E_VALUES,)),
    Plant("rank of a pair among itself", CUSTOM, "grow(wager, harm(beyond, valued.sizes))", "grow(wager, harm(beyond, tuple((*known, abs(excess)) for known, excess in zip(valued.sizes or ((),) * len(beyond), beyond, strict=True))))", (PAIRS,)),
    Plant("a tie of pairs is worse", CUSTOM, "return (value > 0) - (value < 0)", "return 1 if value >= 0 else -1", (PAIRS,)),
    Plant("margin of values is their tolerance", CUSTOM, "value.stable or 0.0, check.allowed)", "value.stable or 0.0, check.accepted)", (E_VALUES,)),
    Plant("values that overlap count each", CUSTOM, "cell.end < valued.last + window", "cell.end < valued.last + 0 * window", (PAIRS,)),
    Plant("value before the segment proves", CUSTOM, "cell.end - window >= since - ROUNDING", "cell.end >= since - ROUNDING", (PAIRS,)),
    Plant("values compared at 100 %", CUSTOM, "if check.compare and cell.split == EVERYTHING:", "if False:", (PAIRS,)),
    Plant("unmeasured check passes", "canaryd/model/passing.py", "    if evidence.unmeasured:\n", "    if False:\n", (MACHINE,)),
    Plant("sign of too little traffic", "canaryd/judge/traffic.py", "requests * log1p(-bet) + bet", "requests * log1p(-bet) + 2 * bet", (E_VALUES,)),
    Plant("too little traffic is harm", "canaryd/judge/shares.py", "dict.fromkeys(NONE, 0.0)", "dict.fromkeys(NONE, 0.1)", (OBJECTIVES,)),
    Plant("quiet night at 100 % is an objection", "canaryd/judge/traffic.py", "    if cell.split == EVERYTHING:\n", "    if False:\n", (OBJECTIVES,)),
    Plant("hard limit on ten requests", "canaryd/judge/limits.py", "requests < check.hard_limit.min_requests or", "", (OBJECTIVES,)),
    Plant("hard limit for ever", "canaryd/judge/limits.py", "if known[0] >= since)", "if known[0] >= 0 * since)", (OBJECTIVES,)),
    Plant("a name becomes PromQL", VARIABLES, ".replace(quote, f\"\\\\{quote}\")", "", (QUERIES,)),
    Plant("a dot in a name is any character", VARIABLES, "[pattern(value) for", "[value for", (QUERIES,)),
    Plant("several names where one fits", VARIABLES, "    if len(values) > 1:\n", "    if False:\n", (QUERIES,)),
    Plant("a comparison asks one question twice", "canaryd/model/queries.py", "and of_canary == of_stable:", "and False:", (QUERIES,)),
    Plant("a subquery is as long as it looks", "canaryd/model/expression.py", "outside + _seconds(tree.range)", "_seconds(tree.range)", (QUERIES,)),
    Plant("a query as long as you like", "canaryd/model/expression.py", "if len(query) > LONGEST:", "if False:", (QUERIES,)),
    Plant("several values in a trial are one", "canaryd/preflight/own_queries.py", "elif trial.rows > 1:", "elif False:", ("tests/preflight/test_own_queries.py",)),
    Plant("a check for the report only refuses a run", "canaryd/preflight/own_queries.py", "level=\"info\" if one.report_only else level", "level=level", ("tests/preflight/test_own_queries.py",)),
    Plant("nothing is zero", "canaryd/metrics/custom.py", "question.zero and found == NOTHING", "found == NOTHING", ("tests/metrics/test_custom.py",)),
    Plant("report-only check latches", "canaryd/judge/shares.py", "    if check.report_only:\n", "    if False:\n", (ASKED,)),
    Plant("report-only check holds", "canaryd/judge/readings.py", "holds=True, known=\"\"", "known=\"\"", (ASKED,)),
    Plant("report-only check keeps PASS waiting", "canaryd/judge/readings.py", "not check.report_only and check.asked_at", "check.asked_at", (ASKED,)),
    Plant("report-only check proves", "canaryd/model/check.py", "self.compare is not None and not self.report_only", "self.compare is not None", (ASKED,)),
    Plant("bound of a step is ignored", "canaryd/judge/verdict.py", "if check.asked_at(cell.split) else _unasked", "if True else _unasked", (ASKED,)),
    Plant("check that is not asked is missed", "canaryd/judge/readings.py", "not check.report_only and check.asked_at(Split(state.split))", "not check.report_only", (ASKED,)),
    Plant("proof without a check that is not asked", "canaryd/judge/readings.py", "        and not analysis.unproven_at(split)\n", "", (ASKED,)),
    Plant("least requests of a step", "canaryd/machine/steps.py", "spec.least_requests(run.current_step)", "spec.analysis.min_requests", (MACHINE,)),
    Plant("a good value ends no row", "canaryd/judge/limits.py", "if beyond else 0)", "if beyond else one.row)", (ASKED,)),
    Plant("a row is forgotten at a new weight", "canaryd/judge/comparison.py", "note=\"\", valued=valued)", "note=\"\", valued=valued, row=0)", (ASKED,)),
    Plant("few requests make a row", "canaryd/judge/limits.py", "        if requests < check.hard_limit.min_requests:\n", "        if False:\n", (ASKED,)),
    Plant("a check's query is not asked", "canaryd/model/queries.py", "if check.query is not None", "if False", ("tests/engine/test_values.py",)),
    Plant("the first of several series", "canaryd/metrics/custom.py", "if len(rows) > 1:", "if False:", (METRICS,), only="memory"),
    # the judge: signs, exponents and ratios of the e-values
    judge("stable's failures cost nothing", "dispersion", "return a, min(log1p(-lost), log1p(-by.clump * q * paid) / by.clump), paid", "return a, 0.0, paid", E_VALUES),
    judge("wrong side of the ratio, harm", "dispersion", "    q = times * requests[0] / requests[1]\n    wide = by.canary + q * (1 + by.stable)", "    q = times * requests[1] / requests[0]\n    wide = by.canary + q * (1 + by.stable)", E_VALUES),
    judge("wrong side of the ratio, proof", "dispersion", "    q = times * requests[0] / requests[1]\n    wide = by.canary + q * by.stable", "    q = times * requests[1] / requests[0]\n    wide = by.canary + q * by.stable", E_VALUES),
    judge("tolerance of errors forgotten", "errors", "harm_bet(requests, tolerance.times, ratio, by)", "harm_bet(requests, 1.0, ratio, by)", E_VALUES),
    judge("margin of errors squared", "errors", "proof_bet(requests, margin.times, bet, by)", "proof_bet(requests, margin.times**2, bet, by)", E_VALUES),
    judge("allowance by stable's requests, harm", "errors", "requests[0] * tolerance.plus", "requests[1] * tolerance.plus", E_VALUES),
    judge("allowance by stable's requests, proof", "errors", "requests[0] * margin.plus", "requests[1] * margin.plus", E_VALUES),
    judge("sign of the proof's allowance", "dispersion", "log1p(by.clump * q * paid) / by.clump), -paid", "log1p(by.clump * q * paid) / by.clump), paid", E_VALUES),
    judge("less is paid than two shapes ask, harm", "dispersion", "paid = max(-log1p", "paid = min(-log1p", E_VALUES),
    judge("more is paid out than two shapes allow, proof", "dispersion", "paid = min(log1p(-by.canary", "paid = max(log1p(-by.canary", E_VALUES),
    judge("sign of the bound on the excess", "errors", "-requests[0] * paid) for", "requests[0] * paid) for", E_VALUES),
    judge("bound on the excess steps the wrong way", "errors", "excess - (value - bound) / slope", "excess + (value - bound) / slope", E_VALUES),
    judge("latency step: wrong side of the ratio", "latency", "    rho = canary.requests / stable.requests\n    low =", "    rho = stable.requests / canary.requests\n    low =", E_VALUES),
    judge("latency shift: wrong side of the ratio", "latency", "    rho = canary.requests / stable.requests\n    scores =", "    rho = stable.requests / canary.requests\n    scores =", E_VALUES),
    judge("latency step without tolerance", "latency", "log1p(-rho * (low + null.phi * (high - low)))", "log1p(-rho * low)", E_VALUES),
    judge("latency shift without tolerance", "latency", "moved_on = [low + phi * (high - low) for", "moved_on = [low + 0 * phi * (high - low) for", E_VALUES),
    judge("sign of the latency step's allowance", "latency", "- canary.requests * plus * (high - low)", "+ canary.requests * plus * (high - low)", E_VALUES),
    judge("latency shift pays no allowance", "latency", " - canary.requests * plus * (scores[-1] - scores[0])", "", E_VALUES),
    judge("a shift may score the slower lower", "latency", "zip(there, null, strict=True)), max))", "zip(there, null, strict=True))))", E_VALUES),
    judge("tolerance of latency squared", "latency", "phis = tuple(crossing(shape, index, tolerance.times)", "phis = tuple(crossing(shape, index, tolerance.times**2)", ARITHMETIC),
    judge("margin of latency squared", "latency", "_null(shape, index, moved(shape, index, times))", "_null(shape, index, moved(shape, index, times**2))", ARITHMETIC),
    judge("a spike at a bound is not allowed for", "histogram", "return usual + spike * (1 - usual)", "return usual", HISTOGRAM),
    judge("history doubles with time", "histogram", "factor = 0.5 ** (", "factor = 2.0 ** (", HISTOGRAM),
    judge("exponent of the objective", "objectives", "requests * log1p(bet * bound)", "requests * log1p(bet) * bound", E_VALUES),
    judge("objective of latency inverted", "objectives", "else 1 - (check.at_least or 0.0)", "else check.at_least or 0.0", ARITHMETIC),
    judge("objective judged at the bound below", "objectives", "enumerate(bounds) if bound >= within_ms), None)", "enumerate(bounds[1:]) if bound >= within_ms), None)", VERDICT),
    judge("sign of the unattributed e-value", "unattributed", "count * log1p(bet) - most * bet", "count * log1p(bet) + most * bet", E_VALUES),
    judge("no unattributed failure is allowed", "unattributed", "return sent(cell) * ALLOWED + usual(cell, history)", "return usual(cell, history)", E_VALUES),
    judge("unattributed failures of before forgotten", "unattributed", "sent(cell) * ALLOWED + usual(cell, history)", "sent(cell) * ALLOWED", E_VALUES, VERDICT),
    judge("stable's share of unattributed failures charged", "unattributed", "    if cell.all_stable < stable_expected / 2:\n        return 0.0\n", "", VERDICT),
    # the judge: mass and capital
    judge("mass laid twice", "mixture", "return Wager(wager.unspent - mass, split, tuple(laid))", "return Wager(wager.unspent, split, tuple(laid))", E_VALUES),
    judge("first mass is of one, not of what is left", "mixture", "return wager.unspent * FIRST", "return FIRST", E_VALUES),
    judge("mass at a new weight out of nothing", "mixture", "return wager.unspent * NEW_WEIGHT", "return NEW_WEIGHT", E_VALUES),
    judge("mass by the minute out of nothing", "mixture", "return wager.unspent * -expm1(-PER_MINUTE * seconds / 60)", "return -expm1(-PER_MINUTE * seconds / 60)", E_VALUES),
    judge("other bounds bring new capital", "mixture", "return Wager(worth(wager), None,", "return Wager(1.0, None,", E_VALUES),
    judge("capital without a ceiling", "mixture", "held if held is None or held < CEILING else CEILING for held in grown", "held for held in grown", ARITHMETIC),
    judge("shares of the evidence above one", "shares", "rest = 1 - UNATTRIBUTED_SHARE\n", "rest = 1.0\n", VERDICT),
    judge("errors grow before mass is laid", "comparison", "    wager = lay(one.wager, cell.split.canary, cell.seconds, errors.RATIO_PRIOR)\n    wager = grow(wager, errors.harm(failed, requests, check.accepted, by))\n", "    wager = grow(one.wager, errors.harm(failed, requests, check.accepted, by))\n    wager = lay(wager, cell.split.canary, cell.seconds, errors.RATIO_PRIOR)\n", VERDICT),
    # the judge: order of update
    judge("history before the bets", "verdict", "    elif cell.split != NOTHING:\n        state = _judged(analysis, state, cell)\n    checks = tuple(portions.learned(one, cell) for one in state.checks)\n    return replace(state, checks=checks, history=_learned(replace(state.history, rates=rates), cell))", "    state = replace(state, history=_learned(replace(state.history, rates=rates), cell))\n    return _judged(analysis, state, cell) if cell.split != NOTHING else state", ARITHMETIC),
    judge("bets have seen the outcomes", "verdict", "_checked(analysis, check, one, cell, state.history, warm) if", "_checked(analysis, check, one, cell, _learned(state.history, cell), warm) if", ARITHMETIC),
    judge("objectives have seen the outcomes", "verdict", "comparison.scatter_of(check, history)", "comparison.scatter_of(check, _learned(history, cell))", ARITHMETIC),
    judge("unattributed failures of the cell excuse themselves", "verdict", "    if quiet and cell.segment", "    if cell.segment", ARITHMETIC),
    # the judge: bounds, latches, clip
    judge("beta for alpha", "verdict", "    if state.harm < 1 / analysis.alpha:\n", "    if state.harm < 1 / analysis.beta:\n", VERDICT),
    judge("alpha for beta", "readings", "        and proof >= 1 / analysis.beta\n", "        and proof >= 1 / analysis.alpha\n", ARITHMETIC),
    judge("proof at half of its bound", "readings", "        and proof >= 1 / analysis.beta\n", "        and proof >= 0.5 / analysis.beta\n", ARITHMETIC),
    judge("the weight rises until harm is certain", "shares", "return min(HOLD, 1 / analysis.alpha)", "return 1 / analysis.alpha", VERDICT, ALONE),
    judge("failure is taken back", "verdict", "failure=state.failure or _failure(analysis, state)", "failure=_failure(analysis, state)", VERDICT),
    judge("a clipped leap is not discarded", "verdict", "checks = tuple(replace(one, wager=wager) for one, wager in zip(state.checks, cut, strict=True))", "checks = state.checks", ARITHMETIC),
    judge("an outage has to be confirmed", "verdict", " and not _outage(cell)", "", VERDICT),
    judge("an outage of stable, too, is believed at once", "verdict", "return (failing or dead) and stable.errors <= STABLE_SHARE * stable.requests", "return failing or dead", VERDICT),
    judge("greatest of the proofs", "readings", "proof = min(proofs, default=1.0)", "proof = max(proofs, default=1.0)", VERDICT),
    judge("greatest of the bounds' proofs", "comparison", "return min((total(row) for row in proof.rows), default=1.0)", "return max((total(row) for row in proof.rows), default=1.0)", ARITHMETIC),
    judge("unsettled cells prove errors", "comparison", "    if cell.settled:\n        row =", "    if True:\n        row =", VERDICT),
    judge("unsettled cells prove latency", "comparison", "    if cell.settled:\n        # The bounds", "    if True:\n        # The bounds", ARITHMETIC),
    judge("cells of another weight count for proof", "verdict", "        settled_cells=0,\n", "", ARITHMETIC),
    judge("requests of another weight count for proof", "verdict", "        settled_requests=0.0,\n", "", ARITHMETIC),
    judge("proof of one lucky cell", "readings", "        and state.settled_cells >= analysis.proof_cells\n", "", VERDICT),
    judge("proof of few requests", "readings", "        and state.settled_requests >= analysis.min_requests\n", "", ARITHMETIC),
    judge("proof in doubt", "readings", "        and not doubt,\n", ",\n", VERDICT),
    judge("objective in doubt holds", "readings", "objectives_hold=all(reading.holds for reading in readings)", "objectives_hold=True", VERDICT),
    judge("objective that cannot be judged holds", "readings", "(harm < hold and place_known(check, state.history.bounds))", "harm < hold", VERDICT),
    # the judge: dispersion, guards
    judge("dispersion of errors ignored", "dispersion", "return Dispersion(clump, max(clump - 1, canary), max(clump - 1, stable))", "return INDEPENDENT", DISPERSION),
    judge("nothing is assumed of a short history", "dispersion", "        return Dispersion(assumed)\n", "        return INDEPENDENT\n", ARITHMETIC),
    judge("pods count half", "dispersion", "PODS_FACTOR = 2.0", "PODS_FACTOR = 0.5", DISPERSION),
    judge("pods' correlation without their size", "dispersion", "(together * _at_a_pod(side) for", "(together for", DISPERSION),
    judge("the largest tenth kept, its mean not", "dispersion", "TRIMMED, TRIMMED_MEAN = 0.9, 0.623", "TRIMMED, TRIMMED_MEAN = 0.9, 1.0", DISPERSION),
    judge("where a merged cell ends depends on its failures", "dispersion", "full = requests * min(share, 1 - share) >= EVENTS if seen[1] else min(", "full = min(", DISPERSION),
    judge("clump of slow requests forgotten, harm", "comparison", "grow(wager, tempered(latency.harm(canary, stable, played, check.accepted), clump))", "grow(wager, latency.harm(canary, stable, played, check.accepted))", ARITHMETIC),
    judge("clump of slow requests forgotten, proof", "comparison", "_paid(row, tempered(latency.proof(canary, stable, shape, null, check.allowed), clump))", "_paid(row, latency.proof(canary, stable, shape, null, check.allowed))", ARITHMETIC),
    judge("clump forgotten, objectives", "objectives", "tempered(harm(bad, requests, most_bad(check)), clump)", "harm(bad, requests, most_bad(check))", ARITHMETIC),
    judge("power for the root of a clump", "dispersion", "tuple(value / clump for value in log_e)", "tuple(value * clump for value in log_e)", E_VALUES),
    judge("warm-up of latency ignored", "comparison", "    if not warm:\n", "    if False and not warm:\n", VERDICT),
    judge("warm-up of an objective ignored", "objectives", "        if not warm:\n", "        if False and not warm:\n", ARITHMETIC),
    # the judge: whether callers meet the split
    judge("traffic astray is no doubt", "exposure", "    if astray(exposure):\n", "    if False:\n", EXPOSURE),
    judge("only too much traffic is astray", "exposure", "    low, high = (0.5, 0.5) if above else (1.0, 0.0)\n", "    low, high = 0.0, 1.0\n", EXPOSURE),
    judge("cells count before the share is proven", "verdict", "settled=cell.settled and followed.since is not None", "settled=cell.settled", EXPOSURE),
    judge("the former split may still be in force", "exposure", "(exposure.former is None or exposure.arrived) and", "", EXPOSURE),
    judge("what was baked astray counts", "verdict", "    if followed.since is None or followed.since != state.exposure.since:\n", "    if False:\n", EXPOSURE),
    judge("a lagging client of any size holds", "exposure", "MATERIAL = 0.05\n", "MATERIAL = 0.0\n", EXPOSURE),
    judge("a lagging client is never material", "exposure", "MATERIAL = 0.05\n", "MATERIAL = 2.0\n", EXPOSURE),
    judge("one burst calls traffic astray", "exposure", "(min(most, _log_e(counts, low, _at_odds(low, 1 / odds))) for", "(_log_e(counts, low, _at_odds(low, 1 / odds)) for", EXPOSURE),
    judge("a lag is held against a client for ever", "exposure", "    if (stake := stake_of(wager)) > MOST * bound:\n", "    if (stake := 1.0) > 2:\n", EXPOSURE),
    judge("what a client failed before is ours", "unattributed", "    excused = min(caller.no_cluster, rate * caller.requests)\n", "    excused = 0.0\n", UNATTRIBUTED),
    judge("one client's former failures excuse all", "unattributed", "2 * before.get(caller.client, 0.0)", "2 * max(before.values())", UNATTRIBUTED),
    Plant("any VirtualService with the host has the say", "canaryd/mesh/suspects.py", "takewhile(lambda one: one is not ours, by_say(full, in_force))", "by_say(full, in_force)", ("tests/mesh/test_suspects.py",)),
    reconciler("causes are looked for on the way back", " or run.latch or run.final:\n", ":\n", "tests/engine/test_suspects.py"),
    machine("an unproven share never holds", "    if (evidence and evidence.astray) or settled >= run.needed:\n", "    if evidence and evidence.astray:\n"),
    # the way back to stable after a promotion
    machine("back to a stable that runs something else", "    if not run.returned_by and (differences := _differences(run, seen.sides)):\n", "    if not run.returned_by and (differences := \"\"):\n", RETURNING),
    machine("back to a stable that is half rolled out", "    if stable.ready == 0 or not stable.rolled_out:\n", "    if stable.ready == 0:\n", RETURNING),
    machine("back to a stable with too few pods", "    if not run.returned_by and stable.ready < canary.desired:\n", "    if False:\n", RETURNING),
    machine("a person's word stands for a rollout", "    if stable.ready == 0 or not stable.rolled_out:\n", "    if not run.returned_by and (stable.ready == 0 or not stable.rolled_out):\n", RETURNING),
    machine("what nobody compared is the same", "        return \"nobody has compared the two yet\"\n", "        return \"\"\n", RETURNING),
    machine("the way back is sent blindly", " and not run.returned:\n        return written_again", ":\n        return written_again", RETURNING),
    machine("a lost way back leads to a dead stable", "        return sent_again(run, seen) if run.returned else written_again(run, seen)\n", "        return written_again(run, seen)\n", RETURNING),
    machine("a lost save of the way back is not known for it", "    if marker.latch == RETURN:\n", "    if False:\n", RETURNING, DEATHS),
    machine("the new stable holds who waits for it", "    if run.phase is Phase.RETURNING:\n        return None\n    if run.stable_pin", "    if run.stable_pin", RETURNING),
    machine("the canary's next image takes all traffic", "    if run.returned:\n        return None  # it has", "    if run.phase is Phase.RETURNING:\n        return None  # it has", RETURNING),
    machine("it fails when stable does not come", "            return Decision(held_for(run, seen, \"not-returned\", late))\n", "            return Decision(held_for(run, seen, \"not-returned\", late, limit, \"rollback\"))\n", RETURNING),
    # undo
    Plant("an undone release is begun again", "canaryd/engine/admission.py", " and run.uid not in undone:", ":", (UNDOING,)),
    undoing("undone though the former version is another", "    if pin is None or pin.differs_from(stable):\n", "    if False:\n"),
    undoing("undone beyond its window", "    if since > within.total_seconds():\n", "    if False:\n"),
    undoing("undone over what others did since", "    if mesh.split != run.split:\n", "    if False:\n"),
    undoing("undone to a stable with too few pods", "    if stable.ready < sides.canary.desired:\n", "    if False:\n"),
    undoing("force lets the impossible pass", "if one.grave or not command.force", "if not command.force"),
    undoing("a return is undone", "    elif run.returned:\n", "    elif False:\n"),
    machine("an undo in flight promotes", "    \"undo\": _of_ended_runs,\n", "    \"undo\": _promote,\n", RETURNING, WORDS),
    Plant("values of env are told", "canaryd/mesh/templates.py", "hashlib.sha256(repr(value).encode()).hexdigest()[:SHORT]", "repr(value)", ("tests/mesh/test_templates.py",)),
    Plant("two digests are one image", "canaryd/mesh/templates.py", "_digest(have) != _digest(want) or not", "not", ("tests/mesh/test_templates.py",)),
    machine("promoted though callers do not meet it", "    if run.present and run.present.astray:\n", "    if False:\n"),
    # a person's word: what it does, and what it cannot do
    machine("a hold holds nothing", "    if run.held_by is None:\n        return seen\n", "    return seen\n", WORDS),
    machine("a hold is forgotten with the next image", "        skipped=(),\n    )", "        skipped=(),\n        held_by=None,\n    )", WORDS),
    machine("a held run hides its other hold", "    if run.held_by is None or run.hold or run.latch", "    if run.held_by is None or run.latch", WORDS),
    machine("a hold is told in every tick", "if answer.run.hold and (held is None or held.kind", "if answer.run.hold and (run.hold is None or held.kind", WORDS),
    machine("the last who holds is named", "    if run.held_by:\n        return _Void", "    if False:\n        return _Void", WORDS),
    machine("what was decided on is not kept", "_grounded(answer.run, weighed, seen.now)) if answer.events else answer", "answer.run) if answer.events else answer", GROUNDED),
    machine("every tick is a ground", "weighed, seen.now)) if answer.events else answer", "weighed, seen.now))", GROUNDED),
    machine("grounds are of what follows", "_grounded(answer.run, weighed, seen.now)", "_grounded(answer.run, answer.run, seen.now)", GROUNDED),
    machine("grounds grow for ever", "(*run.grounds, ground)[-GROUNDS:]", "(*run.grounds, ground)", GROUNDED),
    machine("what began over stands on the former evidence", "    if evidence == (run.grounds[-1].evidence if run.grounds else None):\n", "    if evidence is None or evidence == (run.grounds[-1].evidence if run.grounds else None):\n", GROUNDED),
    Plant("the first ground is every decision's", "canaryd/report/decisions.py", "for one in reversed(run.grounds) if one.at", "for one in run.grounds if one.at", ("tests/report/test_document.py",)),
    Plant("decisions of a status stand beside no evidence", "canaryd/report/decisions.py", "                else _kept_at(run, float(entry[\"at\"]), queries),\n", "                else None,\n", ("tests/report/test_document.py",)),
    Plant("evidence is made up of thinned cells", "canaryd/report/series.py", "    return points if _as_then(run, points) else grounded(run)\n", "    return points\n", ("tests/report/test_document.py",)),
    Plant("a journal's cells are not used", "canaryd/report/document.py", "    run = _whole(run, journal)\n", "", ("tests/report/test_document.py",)),
    Plant("latencies that are gone are not missed", "canaryd/report/document.py", "        latencies_since=_latencies_since(run),\n", "        latencies_since=None,\n", ("tests/report/test_document.py",)),
    Plant("a run that is over loses its newest latencies", "canaryd/store/objects.py", "    return replace(thinned(replace(run, cells=run.cells[-KEPT_CELLS:])), judged", "    return replace(run, cells=tuple(map(_thin, run.cells[-KEPT_CELLS:])), judged", ("tests/store/test_put_away.py",)),
    Plant("a stage ends as the one before", "canaryd/report/document.py", "segment.origin + CLOSE, after", "segment.origin, after", ("tests/report/test_document.py",)),
    Plant("a stage ends for no reason", "canaryd/report/document.py", "after.origin + CLOSE\n", "after.origin\n", ("tests/report/test_document.py",)),
    Plant("who asked is forgotten until it is carried out", "canaryd/model/askers.py", "        self._pending += [one for one in fresh if not _followed(one, events)]\n", "", ("tests/store/test_statuses.py", "tests/desk/test_seeing.py")),
    Plant("who asked once asks for ever", "canaryd/store/statuses.py", "[one for one in commands if one[\"id\"] in heard]", "list(commands)", ("tests/store/test_statuses.py",)),
    Plant("a status does not say who asked", "canaryd/report/decisions.py", "names(actors) or str(entry.get(\"by\") or \"\")", "names(actors)", ("tests/report/test_document.py",)),
    Plant("another run's journal is read", "canaryd/cli/reading.py", "if one.get(\"run\", seen.name) != seen.name}:", "if False}:", ("tests/cli/test_desk.py",)),
    machine("what cannot rise is held", "    if run.latch or run.phase in PROVEN:\n        return _Void(f\"hold", "    if False:\n        return _Void(f\"hold", WORDS),
    machine("resume waits for a mesh that it does not need", "        if command.verb == \"resume\" and run.held_by and not _drifted(run):\n            return False\n", "", WORDS),
    machine("resume leaves the hold", "    return replace(run, held_by=None), None\n", "    return run, None\n", WORDS),
    machine("adopt sets the run's weight again", "        to_drift = \"adopt\" if command.verb == \"adopt\" else \"reassert\"\n".replace("        to", "                to"), "                to_drift = \"reassert\"\n", WORDS),
    machine("adopt takes over nothing as a weight", "    if mesh.split == NOTHING:\n", "    if False:\n", WORDS),
    machine("what is taken over is in the step before", "if one.weight >= mesh.split)", "if one.weight > mesh.split)", WORDS),
    machine("adopt waits while nothing may rise", "(command.verb == \"resume\" and _rises(run, seen))", "_rises(run, seen)", WORDS),
    machine("what was taken over is drift after a death", "    if _taken_over(run, seen):\n", "    if False:\n", WORDS),
    machine("anothers marker is written over", "(seen.marker.run == run.uid and seen.marker.seq < run.seq)", "True", WORDS),
    Plant("promoted from below the last step", "canaryd/model/run.py", "        if self.taken_over:\n            return self.step\n", "", (WORDS,)),
    Plant("a gate before its weight", "canaryd/model/run.py", "        gate = None if self.taken_over else self.current_step.gate\n", "        gate = self.current_step.gate\n", (WORDS,)),
    machine("what is brought down rises elsewhere", "    split = min([run.split, *(part.split", "    split = max([run.split, *(part.split", WORDS, SEVERAL),
    machine("the watch goes on at less", "    possible = split == run.split or run.phase in (Phase.SHIFTING, Phase.BAKING)\n", "    possible = True\n", WORDS),
    Plant("a resume rises behind a bar from nothing", "canaryd/model/run.py", "(self.split if self.split > NOTHING else step.weight), step.audience", "self.split, step.audience", (WORDS,)),
    machine("advance is not heard", "    return replace(run, advanced=word), None\n", "    return run, None\n", WORDS),
    machine("advance waits for no weight", "    return command.verb == \"advance\" and run.phase is Phase.SHIFTING\n", "    return False\n", WORDS),
    machine("advance goes past a gate", "    if waits := gates.kept(run, seen):\n        return waits\n    said = f", "    said = f", WORDS),
    machine("advance rises behind a bar", "    if seen.barred:\n        return Decision(held_for(run, seen, \"barred\", f\"{said}", "    if False:\n        return Decision(held_for(run, seen, \"barred\", f\"{said}", WORDS),
    machine("a word goes past pods that are not ready", "    if (run.unproven or run.advanced) and (why", "    if False and (why", WORDS),
    machine("advance outlives other weights", "partly=False, advanced=None", "partly=False", WORDS),
    machine("advance is for the promotion too", "    if run.following is None:\n        return _Void(\"after", "    if False:\n        return _Void(\"after", WORDS),
    machine("a gate is skipped", "    if steps[wanted].gate is not None:\n", "    if False:\n", WORDS),
    machine("the last step is skipped", "not run.step < wanted < len(steps) - 1:", "not run.step < wanted < len(steps):", WORDS),
    Plant("a skipped step is walked", "canaryd/model/run.py", "if step not in self.skipped), None)", "), None)", (WORDS,)),
    machine("a new canary walks only some steps", "        skipped=(),\n    )", "    )", WORDS),
    machine("anybody promotes past a gate with names", "        if command.by not in approve.by:\n            names = \" or \".join(approve.by) or", "        if approve.by and command.by not in approve.by:\n            names = \" or \".join(approve.by) or", WORDS),
    machine("anybody promotes from any step", "not (run.following is None or command.force):", "False:", WORDS, MACHINE),
    Plant("an approval that was given is ahead", "canaryd/model/run.py", " and step not in self.approved)", ")", (WORDS,)),
    machine("a run on its way back listens", "    if run.latch:\n        return False\n    if command.verb in (\"resume\"", "    if command.verb in (\"resume\"", WORDS),
    # gates: no answer is never a yes, an outage never a no, and nothing waits for them that goes back
    machine("a gate without an answer opens", "    lacking = [term for term in run.terms if not run.holds(term, seen.now)]\n", "    lacking = [term for term in run.terms if (known := run.condition(term)) and known.said]\n", GATES),
    machine("one condition of a gate is enough", "    if not lacking:\n", "    if len(lacking) < len(run.terms):\n", GATES),
    machine("the step is not looked at again after its gate", "    if doubt := _doubt(run, seen):\n        limit = run.plan.spec.on_inconclusive\n        return Decision(held_for(run, seen, \"inconclusive\", doubt, limit.hold, limit.then))\n    if waits", "    if not run.hold and (doubt := _doubt(run, seen)):\n        limit = run.plan.spec.on_inconclusive\n        return Decision(held_for(run, seen, \"inconclusive\", doubt, limit.hold, limit.then))\n    if waits", GATES),
    machine("a no waits for data", "    run = gates.refused(_latch_harm(run, seen), seen)\n", "    run = _latch_harm(run, seen)\n    run = run if seen.blind or isinstance(seen.mesh, Unseen) else gates.refused(run, seen)\n", GATES),
    machine("a no is none", "        if known and known.said == \"no\" and term.on_no == \"rollback\":\n", "        if False:\n", GATES),
    machine("a no rolls back whatever the plan says", "known.said == \"no\" and term.on_no == \"rollback\"", "known.said == \"no\"", GATES),
    machine("a yes may be taken back", "        if isinstance(term.part, Webhook) and known.said == \"yes\":\n            continue\n", "", GATES),
    machine("a second approval opens the next gate", "    if command.step is None and not any(", "    if False and not any(", GATES),
    machine("a start asks nobody", "    if waits := gates.kept(run, seen):\n        return waits\n    pinned", "    pinned", GATES),
    machine("a limit that holds hides one that rolls back", "    grave = [end for end in ends if end[1].otherwise == \"rollback\"] or ends\n", "    grave = ends\n", GATES),
    machine("an alert's limit counts from when the gate was reached", "        since = seen.now if lacks_anew else known.since\n", "        since = known.since\n", GATES),
    machine("anybody may approve", "        if part.by and command.by not in part.by:\n", "        if False:\n", GATES),
    machine("a new canary passes by the former one's gates", "        gates=(),\n        restarts=run.restarts + 1,\n", "", GATES),
    Plant("silence keeps", "canaryd/model/run.py", "or now is None or now - known.at <= FRESH", "or True", (GATES,)),
    Plant("the start's approval opens the first step", "canaryd/model/run.py", "        return START if self.phase is Phase.PENDING and start and start.approve else self.step\n", "        return self.step\n", (GATES,)),
    Plant("the promotion's gate is forgotten", "canaryd/model/run.py", "self.plan.spec.gates.promotion if self.following is None else None", "None", (GATES,)),
    Plant("who only observes asks", "canaryd/model/run.py", "if not (self.plan.observes and isinstance(term.part, Webhook))", "if True", (GATES,)),
    Plant("each asking is another question", "canaryd/engine/doorkeeper.py", "self._webhooks.ask(run, term, condition)", "self._webhooks.ask(run, term.__class__(f\"{term.id}-{self._clock.now()}\", term.place, term.before, term.part), condition)", (DOOR,)),
    Plant("a run on its way back still asks", "canaryd/engine/doorkeeper.py", "        if run.latch or run.hold is None or run.hold.kind != \"gate\" or", "        if", (DOOR,)),
    Plant("a yes is asked for again", "canaryd/engine/doorkeeper.py", "term.id in self._busy or answered or", "term.id in self._busy or", (DOOR,)),
    Plant("a saved yes is asked for again", "canaryd/engine/doorkeeper.py", " or (term.kind == \"webhook\" and run.holds(term)):\n", ":\n", (DOOR,)),
    Plant("an outage is asked at each tick", "canaryd/engine/doorkeeper.py", "            return min(SOON * 2.0 ** min(silent - 1, 10), SELDOM)\n", "            return 0.0\n", (DOOR,)),
    Plant("an end is owed to nobody", "canaryd/machine/gates.py", "untold=run.plan.spec.gates.end", "untold=()", (DOOR,)),
    Plant("an observer tells its end", "canaryd/engine/reconciler.py", "    return observed(decide(run, replace(seen, mesh=as_wanted(run, seen.mesh))), run, seen.mesh)\n", "    seen_ = observed(decide(run, replace(seen, mesh=as_wanted(run, seen.mesh))), run, seen.mesh)\n    return replace(seen_, run=replace(seen_.run, untold=run.plan.spec.gates.end if seen_.run.final else ()))\n", (DOOR,)),
    Plant("an end is told before it is saved", "canaryd/engine/reconciler.py", " and self._known.get(record.run.uid) == record:\n            self._doorkeeper.tell", ":\n            self._doorkeeper.tell", (DOOR,)),
    Plant("who was told is not saved", "canaryd/engine/reconciler.py", "if name not in told)", ")", (DOOR,)),
    Plant("an end is told for ever", "canaryd/engine/doorkeeper.py", "times >= TELLINGS or", "", (DOOR,)),
    Plant("a tick waits for its receiver", "canaryd/engine/doorkeeper.py", "            self._asking.submit(self._put, run, term, condition)\n", "            self._put(run, term, condition)\n", (DOOR,)),
    Plant("a bare 403 is a no", "canaryd/gates/answers.py", "    if status >= 400:\n", "    if status == 403:\n        return Reply(\"no\", why)\n    if status >= 400:\n", (RECEIVERS,)),
    Plant("a page is a yes", "canaryd/gates/answers.py", "    if _is_page(headers, body):\n", "    if False:\n", (RECEIVERS,)),
    Plant("an outage is a no", "canaryd/gates/answers.py", "    if status >= 500 or status < 200:\n", "    if False:\n", (RECEIVERS,)),
    Plant("redirects are followed", "canaryd/gates/sending.py", "redirect=False", "redirect=True, retries=2", (RECEIVERS,)),
    Plant("any namespace may ask", "canaryd/gates/named.py", "    if name not in allowed:\n", "    if False:\n", (RECEIVERS,)),
    Plant("the time is not signed", "canaryd/gates/signature.py", 'f"{identity}.{timestamp}.".encode() + body', "body", (SENT,)),
    Plant("an answer may drip for ever", "canaryd/gates/sending.py", "                if time.monotonic() > deadline:\n", "                if False:\n", (SENT,)),
    Plant("a token of ours is repeated", "canaryd/gates/webhooks.py", "struck(reply.why, secrets_of(hook.headers))", "reply.why", (SENT,)),
    # messages
    reconciler("a message is sent before it is saved", "        if self._courier and self._known.get(record.run.uid) is record:\n", "        if self._courier:\n", OUTBOX),
    reconciler("a message of a run that is over is never saved as taken", "        return record if unchanged else self._saved(replace(record, run=left))\n", "        return record\n", OUTBOX),
    posting("a message is taken out before it was taken", "    run = without(decision.run, taken)\n", "    run = replace(decision.run, outbox=replace(decision.run.outbox, waiting=()))\n", OUTBOX),
    posting("a message's number is given twice", "box.numbered + 1, now, to)", "len(box.waiting) + 1, now, to)", POSTED),
    posting("a message goes to whoever has a name", "not set(names).isdisjoint(one.events))", "True)", POSTED),
    posting("messages pile up for ever", "    if too_many := max(0, len(box.waiting) - MOST):\n", "    if too_many := 0:\n", POSTED),
    posting("a message reminds again and again", " or run.outbox.reminded == hold.limit:\n", ":\n", POSTED),
    posting("a message reminds though the limit stands still", "    if run.barred_since is not None and hold.kind in CLOCKS:\n", "    if False:\n", POSTED),
    posting("a pager's message of an abort", ' and run.latch.kind in ("fail", "inconclusive"):\n', ":\n", POSTED),
    courier("a message that was taken is not noted", "        self._noted(letter.run.uid, letter.message.id_in(letter.run.uid), self._channel)\n", "", COURIER),
    courier("messages overtake one another", "            if letter.tries >= OVERTAKEN:\n", "            if True:\n", COURIER),
    courier("a message that fails is tried at once", "        letter.due = now + pause\n", "        letter.due = self._rest = 0.0\n        return\n", COURIER),
    courier("a message is tried for ever", "        return old and letter.tries >= OVERTAKEN\n", "        return False\n", COURIER),
    courier("a message that was taken is sent until it is saved", "                    if (message.id_in(run.uid), channel) not in known:\n", "                    if True:\n", COURIER),
    courier("one channel's thread is every message's", "        if channel not in self._lanes:\n            lane = ", "        if not self._lanes:\n            lane = ", COURIER),
    Plant("a message's id is another each time", "canaryd/model/message.py", 'return f"{uid}_{int(self.at)}_{self.number}"', 'return f"{uid}_{id(self)}_{self.number}"', (POSTED,)),
    Plant("a message's content grows while it waits", "canaryd/notify/events.py", '    del event["data"]["harmed"]', '    "no" and event["data"]["harmed"]', (TOLD,)),
    Plant("a message that is accepted is none", "canaryd/notify/channels.py", '"yes" if 200 <= status < 300 else "silent"', "reply.said", (TOLD,)),
    Plant("any namespace may send a message", "canaryd/gates/named.py", "    if name not in allowed:\n", "    if False:\n", (CHANNELS,)),
    Plant("a message's URL is repeated", "canaryd/notify/services.py", "    text = struck(said, sorted(words, key=len, reverse=True))\n", "    text = said\n", (TOLD,)),
    Plant("a message's log is everybody's", "canaryd/notify/services.py", "    logger.propagate = False\n", "", (TOLD,)),
    Plant("a message is markup", "canaryd/notify/services.py", 'body_format="text"', 'body_format="html"', (TOLD,)),
    Plant("an alert's name is a pattern", "canaryd/metrics/alerts.py", "promql.pattern(name) for name in", "name for name in", (FIRING,)),
    Plant("a pending alert fires", "canaryd/metrics/alerts.py", "f'{STATE}=\"firing\"'", "f'{STATE}=~\".+\"'", (FIRING,)),
    # a cap on harmed requests
    machine("a cap decides nothing", "    if reason := _beyond_the_cap(run):\n", "    if False and (reason := \"\"):\n", HARM),
    machine("a cap forgets a run at 0 %", "    if run.latch:\n        return run\n    if reason := _beyond", "    if run.latch or run.split == NOTHING:\n        return run\n    if reason := _beyond", HARM),
    reconciler("what a former image harmed is forgotten", "            harmed = judge.harmed(harmed, judge.begin(analysis), cell)\n", "", "tests/engine/test_harm.py"),
    judge("a shared incident harms", "harmed", "canary.errors - rate * canary.requests", "canary.errors", HARMED),
    judge("good luck is saved up", "harmed", "requests=max(0.0, sum_.requests + canary.errors - rate * canary.requests + lost)", "requests=sum_.requests + canary.errors - rate * canary.requests + lost", HARMED),
    judge("a dead canary harms nobody", "harmed", " * canary.requests + lost)", " * canary.requests)", HARMED),
    judge("a cap that ends is called back", "alone", "    if standing.ruled == \"rollback\":\n", "    if False:\n", ALONE),
    judge("impossible numbers judged", "verdict", "    if fault := guards.fault(cell):\n", "    if False and (fault := guards.fault(cell)):\n", VERDICT),
    judge("impossible totals judged", "verdict", "    if fault := guards.implausible(cell, state.history.rates):\n", "    if False and (fault := \"\"):\n", VERDICT),
    judge("durations beyond the requests judged", "verdict", "    cell = guards.consistent(cell)\n", "", HOSTILE),
    # the judge alone
    judge("compared at a hundred percent", "alone", "    if split == EVERYTHING:\n", "    if False:\n", ALONE),
    judge("promoted at any weight", "alone", "if split >= LAST_COMPARATIVE and evidence.proven:", "if evidence.proven:", ALONE),
    judge("proof of seconds", "alone", " and standing.baked >= standing.least * (1 - ROUNDING)", "", ALONE, HOSTILE),
    judge("a cell told twice counts twice", "alone", "    if sample.start < standing.end - rounding:\n", "    if False:\n", ALONE),
    judge("a refused cell moves the run", "alone", "standing = replace(former, judged=known,", "standing = replace(standing, end=sample.start + sample.seconds, judged=known,", HOSTILE),
    judge("a wrong time is believed at once", "alone", "    if sample.start > standing.end + LEAP and not confirmed:\n", "    if False:\n", HOSTILE),
    judge("a refused cell's own length uses patience up", "alone", "former.unheard + min(sample.seconds, usual)", "former.unheard + sample.seconds", HOSTILE),
    judge("a cell without requests is bake", "alone", "    if sample.stable.requests == sample.canary.requests == sample.unattributed == 0:\n", "    if False:\n", HOSTILE),
    judge("durations beyond the requests count each", "guards", "    if durations > most * (1 + ROUNDING):\n", "    if durations > LEAP * most + SLACK:\n", HOSTILE),
    judge("pods that contradict are believed", "guards", "return counts if known else replace(counts, pods=())", "return counts", DISPERSION),
    judge("pods that serve nobody spread what others got", "dispersion", "(together * _at_a_pod(side) for side", "(together * side.requests / max(1, len(side.pods)) for side", DISPERSION),
    Plant("a small share is none", "canaryd/cli/judge.py", "    if split == NOTHING and weight > 0:\n", "    if False:\n", (HOSTILE,)),
    Plant("the last of two keys wins", "canaryd/cli/judge.py", "    if twice:\n", "    if False:\n", (HOSTILE,)),
    Plant("an answer waits in a buffer", "canaryd/cli/judge.py", "    out.flush()\n", "", (ALONE,), only="before_the_next"),
    judge("a rollback that ends", "alone", "    if decision == \"rollback\":  # a failure", "    if decision == \"rollback\" and False:  # a failure", HOSTILE),
    judge("inconclusive goes on", "alone", "    if standing.ruled == \"inconclusive\":\n", "    if False:\n", ALONE),
    # preflight before a run: what stops it, what is let pass, what is waited for
    Plant("an error of preflight stops nothing", "canaryd/engine/admission.py", "for one in examined if one.level == \"error\" and", "for one in () if one.level == \"error\" and", (EXAMINED,)),
    Plant("preflight stops who only observes", "canaryd/engine/admission.py", "    if plan.observes:\n        return ()\n    codes_known", "    codes_known", (EXAMINED,)),
    Plant("a person's reason lets nothing pass", "canaryd/model/finding.py", "one.level == \"error\" and one.code in reasons", "False", (EXAMINED,)),
    Plant("what admission refuses can be accepted", "canaryd/engine/admission.py", "    if problems := (*problems, *stopping(plan, looked.examined, problems)):\n", "    problems = tuple(one for one in problems if one.code not in plan.accepted)\n    if problems := (*problems, *stopping(plan, looked.examined, problems)):\n", (EXAMINED,)),
    Plant("a refusal hides what preflight finds", "canaryd/engine/admission.py", "raise Refused((*refused.problems, *others), refused.findings)", "raise Refused(refused.problems, refused.findings)", (EXAMINED,)),
    Plant("a plan that was refused has been measured", "canaryd/engine/admission.py", "prepared if prepared and prepared.admitted else None", "prepared", (EXAMINED,)),
    Plant("one problem that passes makes all pass", "canaryd/model/problem.py", "bool(self.problems) and all(", "bool(self.problems) and any(", (EXAMINED,)),
    Plant("what passes by itself is tried less and less", "canaryd/controller/plans.py", "    if isinstance(error, Refused) and error.transient:\n        return True\n", "", (PLANS,)),
    Plant("what has to be mended is waited for", "canaryd/cli/preflight.py", "if all(one.transient for one in grave)", "if grave", ("tests/cli/test_preflight.py",), "waiting_is_for"),
    Plant("the journal keeps no findings", "canaryd/engine/reconciler.py", "        **_found(run, decision),\n", "", (EXAMINED,)),
    preflight("what is accepted in vain is not told", "groups", "    yield from accepted_in_vain(survey.plan)\n", "", "survey"),
    preflight("what checks find too cannot be accepted", "groups", "    ours += [code.name for code in FOUND_HERE_TOO]\n", "", "survey"),
    preflight("failures below what is found are left out", "feasibility", ", up to {wording.number(round(step.unseen))} failures below that stay unseen", ""),
    Plant("a diff needs the right to write", "canaryd/mesh/virtualservice.py", "self._admit(plan, writes=False)", "self._admit(plan, writes=True)", ("tests/mesh/test_virtualservice.py",), "only_read"),
    # preflight: what callers see and send, and whether there are proxies and pods for it
    Plant("labels are the truth, not pods", "canaryd/mesh/pods.py", "    return INJECTED in marks or any(one.get(\"name\") == SIDECAR for one in containers)\n", "    return INJECTED in marks\n", ("tests/preflight/test_sidecars.py",)),
    preflight("ambient mode is a lack of sidecars", "sidecars", " and not is_ambient(pod, labels)]", "]"),
    preflight("what was declared TLS is made HTTP", "ports", "        declared = spoken in TLS or spoken in OPAQUE - {\"tcp\"}\n", "        declared = False\n"),
    preflight("a gateway reads what a port is called", "ports", "_protocols(survey, [one for one in ways if one.from_sidecars])", "_protocols(survey, ways)"),
    preflight("a rule is seen though it is not exported", "rules", "    seen = [one for one in best if one.exported & {PUBLIC, client.namespace}]\n", "    seen = best\n", "subsets"),
    preflight("an HPA of KEDA's is patched itself", "capacity", " and not any(one.get(\"kind\") == \"ScaledObject\" for one in owners)", ""),
    preflight("the youngest policy holds", "tls", "    return min(policies, key=", "    return max(policies, key="),
    # preflight: who is in force, whom the weights reach, what bends the evidence
    Plant("the younger claim is the one in force", "canaryd/mesh/routing.py", "return group, age_of(found)", "return group, age_of(found)[::-1]", ("tests/preflight/test_routing.py",)),
    Plant("what is exported by name waits for its age", "canaryd/mesh/routing.py", "        return group, age_of(found)", "        return 0, age_of(found)", ("tests/preflight/test_conflicts.py",)),
    Plant("partial hosts are completed", "canaryd/mesh/routing.py", 'return host if "." in host or', 'return host if host.count(".") > 3 or', ("tests/preflight/test_routing.py",)),
    Plant("a gateway's route is not obeyed by a claim in the mesh", "canaryd/mesh/routing.py", "return MESH in gateways_of(virtual_service) and any(", "return any(", ("tests/preflight/test_conflicts.py",)),
    preflight("refused HTTPRoutes count", "conflicts", "        if one not in refused\n", "", "conflicts"),
    preflight("a match's own gateways are not read", "fronts", 'gateways_of(front.found, match.get("gateways") or ())', "gateways_of(front.found)", "reach"),
    preflight("a caller without pods is taken for a sidecar", "reach", "unknown = tuple(caller for caller in pods if not pods[caller])", "unknown = ()", "reach"),
    preflight("a Sidecar of another workload counts", "reach", " and any(selects(_selector(one), labels_of(pod)) for pod in pods)", "", "reach"),
    preflight("a subset's policy is not read", "rules", "        if own and (found := own.block(name)):\n            return found\n", "", "evidence"),
    preflight("an empty policy is left behind", "rules", "path[-1] != \"trafficPolicy\" and _is_alone(_parent(self.rule, path))", "False", "evidence"),
    preflight("the root's retries are not inherited", "evidence", "return self.entry.rest.get(key) or (self.root.rest.get(key) if self.root else None)", "return self.entry.rest.get(key)", "evidence"),
    preflight("a suspended Canary writes", "writers", 'if spec.get("suspend") or not target:', "if not target:", "writers"),
    preflight("a kind that is not served is one that may not be read", "looking", "if not kind.group or self._versions(kind.group) != ():", "if True:", "apis"),
    # the lab refuses what a cluster refuses
    webhook("weights that sum to nothing are taken", "destinations", "    if len(route) > 1 and total == 0:\n", "    if len(route) > 9 and total == 0:\n"),
    webhook("a single destination needs a weight", "destinations", "    if len(route) > 1 and total == 0:\n", "    if route and total == 0:\n"),
    webhook("a sum of weights does not wrap", "destinations", "        total = int32(total + weight)\n", "        total = total + weight\n"),
    webhook("a delegate may delegate", "http_routes", "        yield wrong(\"delegate HTTP route cannot contain delegate\")\n", "        return\n"),
    webhook("a root may have destinations", "http_routes", "        if entry.get(\"route\"):\n            yield wrong(f\"root", "        if False:\n            yield wrong(f\"root"),
    webhook("a delegate may have gateways", "virtual_services", "    if not hosts:\n        yield from _delegate", "    if False:\n        yield from _delegate"),
    webhook("the mesh takes every host", "virtual_services", "        elif host == \"*\" and not at_gateways:\n", "        elif False:\n"),
    webhook("a covered host is another", "hosts", "    return is_covered(one, other) or is_covered(other, one)\n", "    return one == other\n"),
    webhook("a warning refuses", "__init__", "[one for one in problems if not one.warning]", "problems"),
    Plant("alternatives are not counted", "canaryd/lab/kubernetes/validations.py", "    if one_of and valid != 1:\n", "    if one_of and valid == 0:\n", (SCHEMAS,)),
    Plant("rules do not wait for types", "canaryd/lab/kubernetes/validations.py", "one.reason in _BLOCKING for one", "False for one", (SCHEMAS,)),
    Plant("a backend without a weight gets nothing", "canaryd/lab/kubernetes/gatewayapi.py", "_WEIGHT = _whole(0, 1_000_000, default=1)", "_WEIGHT = _whole(0, 1_000_000, default=0)", (GATEWAY_API,)),
    # preflight: what was not heard is not taken for nothing, and what bends the evidence is said
    preflight("a partial answer is a whole one", "hearing", "        if answer.partial:\n", "        if answer.partial and not answer.rows:\n"),
    preflight("a rate over longer than there was anything", "questions", "    return max((int(row.labels[KIND]) for row in found), default=SPANS[-1])", "    return SPANS[0]", "hearing"),
    preflight("the mesh's own faults are a version's", "questions", "        if \"FI\" in row", "        if \"XX\" in row", "hearing"),
    preflight("another source is asked than measures", "hearing", "analysis = plan.measured_by(source)", "analysis = plan.measured_by(\"\")", "hearing"),
    preflight("a wider Telemetry overrides a nearer one", "overrides", "found[metric, tag] = its if change else None", "found.setdefault((metric, tag), its if change else None)", "prometheus"),
    preflight("an override at the pods blinds callers", "overrides", "\"CLIENT_AND_SERVER\", \"CLIENT\")", "\"CLIENT_AND_SERVER\", \"CLIENT\", \"SERVER\")", "prometheus"),
    preflight("durations that were missed are none", "prometheus", " and DURATIONS not in dict(heard.missed)", ""),
    preflight("an objective below the bound that judges it", "prometheus", "elif bounds[place] != wanted:", "elif bounds[place] < wanted:"),
    preflight("what a hold still brings is left out", "feasibility", "(bakes[one.weight] + hold)", "bakes[one.weight]"),
    preflight("harm without the way back", "feasibility", "each * (cells * cell + lag + TAKEN_BACK)", "each * cell"),
    preflight("a dashboard of nearly that title", "neighbourhood", "one.get(\"title\") == title", "title in str(one.get(\"title\"))", "neighbours"),
    preflight("a neighbour's token stays at home", "neighbourhood", '("type", "dash-db")], token)', '("type", "dash-db")])', "neighbours"),
    preflight("a token that is refused is no finding", "neighbourhood", "found.status in (401, 403)", "found.status == 418", "neighbours"),
    preflight("freezes of a kind that nobody has are unseen", "looking", "return unseen if self._versions(CANARY_FREEZES.group) != () else {}", "return unseen", "apis"),
    preflight("Kiali's refusal is taken for an absence", "neighbourhood", "{200: True, 404: False}", "{200: True, 404: False, 403: False}", "neighbours"),
    preflight("traces that are there are not found", "neighbours", " and not names & answer.services", ""),
    Plant("a rise is found twice too soon", "canaryd/judge/futility.py", "HARM_OVERHEAD = 3.5", "HARM_OVERHEAD = 1.2", ("tests/judge/test_futility.py",)),
    # a step with a match
    Plant("matched people do not count as traffic", "canaryd/model/run.py", "return self.split > NOTHING or bool(self.match)", "return self.split > NOTHING", (MACHINE,)),
    machine("entries in front are not looked at", "if (seen.split, seen.match) != (marker.split, marker.match):", "if seen.split != marker.split:"),
    machine("a rollback is over while people are matched", "NOTHING or seen.mesh.match:", "NOTHING:"),
    machine("a newer marker that matches people is adopted", ' or marker.match not in ("", run.match):', ":"),
    machine("cells after a forgotten write count for the former split", "run, seen = adopted, replace(seen, cells=())", "run = adopted"),
    Plant("a retreat leaves the entries in front", "canaryd/mesh/weights.py", "away = [] if kept else take_away(virtual_service, route)", "away = []", (MATCHING,)),
    Plant("an entry in front is taken out unguarded", "canaryd/mesh/matching.py", '            {"op": "test", "path": f"{entry.path}/name", "value": entry.name},\n', "", (MATCHING,)),
    Plant("entries in front are believed by their names", "canaryd/mesh/matching.py", "if not (same and ours and found.index < behind.index):", "if False:", (MATCHING,)),
    judge("other people are compared", "verdict", "if check.compare and cell.matched:", "if False:", "tests/judge/test_matched.py"),
    judge("a match that nobody fits counts", "verdict", "if since is None and cell.settled and cell.all_canary > 0:", "if since is None and cell.settled:", "tests/judge/test_matched.py"),
    # several objects
    machine("arrived when one object has it", "return found.pop() if len(found) == 1 else Standing.PARTLY", "return Standing.ARRIVED if Standing.ARRIVED in found else found.pop()", SEVERAL),
    machine("an advance that reached some is undone", "return Decision(waits, Write(\"canary\", marker))", "return written(waits, seen, NOTHING)", SEVERAL),
    machine("who brought weights down needs no person where an object lags", "if _brought_down(run) and run.hold:", "if False:", SEVERAL),
    machine("people whom an entry in front matches are compared", "mesh.split is not None and not mesh.match", "mesh.split is not None", SEVERAL),
    machine("what some objects have is a bake", "replace(run.segment, ours=False, matched=True)", "run.segment", SEVERAL),
    machine("objects that differ are compared", "arrived=True, alike=alike)", "arrived=True)", SEVERAL),
    machine("nothing is measured while some objects have it", "if where is Standing.PARTLY and not run.partly:", "if False:", SEVERAL),
    Plant("one object's failure keeps the others", "canaryd/mesh/several.py", "            except CanarydError as error:\n                return error\n", "            except ValueError:\n                return None\n", ("tests/mesh/test_several.py",)),
    Plant("an advance is written again to those that have it", "canaryd/mesh/several.py", "if found.marker is None or (found.marker.run, found.marker.seq) != (marker.run, marker.seq):", "if True:", ("tests/mesh/test_several.py",)),
    Plant("what moves along is another way", "canaryd/mesh/admission.py", "whole = replace(route, also=tuple(_beside(plan, route, around)))", "whole = route", ("tests/mesh/test_several.py",)),
    Plant("entries of a plan whose name begins alike are ours", "canaryd/mesh/matching.py", 'prefix = f"{INSERTED}{route.plan}."', 'prefix = f"{INSERTED}{route.plan}"', (MATCHING,)),
    # guards
    machine("a run begins behind a bar", "    if seen.barred:\n        return Decision(replace(run, waiting=f\"waiting to start", "    if False:\n        return Decision(replace(run, waiting=f\"waiting to start", BARRING),
    machine("a step rises behind a bar", "    if seen.barred:\n        why = f\"step", "    if False:\n        why = f\"step", BARRING),
    machine("a promotion behind a bar", "    if seen.barred:\n        return Decision(held_for(run, seen, \"barred\", f\"the promotion", "    if False:\n        return Decision(held_for(run, seen, \"barred\", f\"the promotion", BARRING),
    machine("a lost write is sent again behind a bar", "    if unseen_rise and barred_from(run.split, run.match, seen):\n", "    if False:\n", BARRING),
    machine("weights are set again behind a bar", "\"reassert\" in (to_drift, policy) and not barred_from(run.split, run.match, seen)", "\"reassert\" in (to_drift, policy)", BARRING),
    machine("a person's word lets rise behind a bar", "(command.verb == \"resume\" and _rises(run, seen))", "False", BARRING),
    machine("a bar keeps weights from coming down", "    return seen.barred if rises or not parts else \"\"\n", "    return seen.barred\n", BARRING),
    machine("a match behind a bar", "or (match and match != part.match) for", "for", BARRING),
    machine("a stop is overheard", "    if not seen.stopped or run.latch:\n        return run\n", "    return run\n", BARRING),
    machine("a stop speaks over a failure", "if not seen.stopped or run.latch:", "if not seen.stopped:", BARRING),
    machine("a limit runs out while nobody may act", "    if seen.barred and hold.kind in CLOCKS:\n        return None\n", "", BARRING),
    machine("a bar's time is not given back", "hold = replace(hold, since=hold.since + took, limit=hold.limit + took)", "pass", BARRING),
    machine("without data the limit stands still", '("gate", "inconclusive")\n"""', '("gate", "inconclusive", "no-data")\n"""', BARRING),
    Plant("a freeze of all counts for nobody", "canaryd/model/guards.py", 'self.namespace in ("", namespace)', "self.namespace == namespace", (BARS,)),
    Plant("a freeze has no end", "canaryd/model/guards.py", "return self.until is not None and now >= self.until", "return False", (BARS,)),
    Plant("every freeze stops", "canaryd/model/guards.py", "if one.stop and one.holds", "if one.holds", (BARS,)),
    Plant("the first end of several counts", "canaryd/model/guards.py", "Bar(why, max(known)", "Bar(why, min(known)", (BARS,)),
    Plant("a blackout goes after windows", "canaryd/model/calendar.py", "if one.begins <= at < one.ends", "if False", ("tests/model/test_calendar.py",)),
    Plant("who is read first is first", "canaryd/model/queue.py", "for ticket in sorted(waiting):", "for ticket in waiting:", ("tests/model/test_queue.py",)),
    Plant("a full namespace is in everybody's way", "canaryd/model/queue.py", "            queues.setdefault(home, []).append(ticket.plan)\n        elif", "            queues.setdefault(home, []).append(ticket.plan)\n            total += 1\n        elif", ("tests/model/test_queue.py",)),
    Plant("who waits is not counted when it begins", "canaryd/model/queue.py", "            present[home] += 1\n            total += 1\n", "            present[home] += 1\n", ("tests/model/test_queue.py",)),
    guarding("what cannot be read is nothing", "            near = self._near()\n", "            near = self._near() or ()\n"),
    guarding("far freezes that cannot be read are none", "self._far.seen(plan.namespace) if self._far else ()", "(self._far.seen(plan.namespace) or ()) if self._far else ()"),
    guarding("far freezes are asked for in a tick", "                self._asking.submit(self._read, namespace)\n", "                self._read(namespace)\n"),
    guarding("far freezes are forgotten when they cannot be read", "            if found is not None:\n                self._known", "            if True:\n                self._known"),
    guarding("a clock that was set back hides a stop", "and not 0 <= age < EVERY", "and age >= EVERY"),
    Plant("a clock that was set back holds messages", "canaryd/engine/courier.py", "if wait <= 0 or wait > MOST_AFTER else", "if wait <= 0 else", ("tests/engine/test_courier.py",)),
    Plant("a clock that was set back stops the asking", "canaryd/engine/doorkeeper.py", "0 < due - self._clock.now() <= MOST", "0 < due - self._clock.now()", (DOOR,)),
    reconciler("a message that cannot be made blocks a rollback", "decision = _with_messages(_decided", "decision = with_messages(_decided"),
    Plant("a record that cannot be read blocks an abort", "canaryd/desk/finding.py", "    if verb == \"abort\":\n", "    if False:\n", ("tests/cli/test_desk.py", "tests/web/test_pages.py"), only="stands_in_the_way"),
    guarding("a stop waits for what cannot be read", "                return Seen(unread, stopped)\n", "                return Seen(unread)\n"),
    guarding("freezes are forgotten when they cannot be read", "            self._failed = str(error)\n        else", "            self._failed = str(error)\n            self._known = ()\n        else"),
    guarding("a guard that fails ends the tick", "        except Exception as error:\n            # A fault", "        except CanarydError as error:\n            # A fault"),
    guarding("a guard that fails bars nothing", "return Seen(Bar(f\"canaryd cannot tell whether it may: {type(error).__name__}: {error}\", None))", "return Seen(None)"),
    Plant("a freeze that cannot be read is none", "canaryd/store/freezes.py", "return Freeze(file.stem, \"\", f\"{file} cannot be read: {error.errors()[0]['msg']}\")", "return None", (FREEZES,), only="InFolder or folder or file or disk"),
    Plant("a folder that cannot be listed is empty", "canaryd/store/folder.py", "    except FileNotFoundError:\n        return []\n\n\ndef put", "    except OSError:\n        return []\n\n\ndef put", (FREEZES,), only="listed"),
    # plans from other tools
    Plant("what nobody knows of another tool's object is lost", "canaryd/importing/ledger.py", 'found[leaf] = Fate(self.source, dotted(leaf), shown(_discreet(value)), "unknown", UNKNOWN)', "pass", ("tests/importing/test_fields.py",)),
    Plant("a low maximum is promoted unproven", "canaryd/importing/draft.py", "        if self.weight >= LAST_COMPARATIVE.canary / 1000:\n", '        self.more["acceptUnproven"] = "the other tool"\n        if True:\n', ("tests/importing/test_flagger.py",)),
    Plant("a row is sooner full than the other tool was", "canaryd/importing/queries.py", "max(failed, ceil(failed * apart / wanted))", "failed", ("tests/importing/test_argo.py",)),
    Plant("half a match is carried", "canaryd/importing/flagger.py", 'if not isinstance(way, Mapping) or set(way) != {"headers"}', 'if not isinstance(way, Mapping) or "headers" not in way', ("tests/importing/test_flagger.py",)),
    Plant("a strict bound of a failure is taken for its opposite", "canaryd/importing/conditions.py", "sign = _UNSAID[sign] if negated else sign", "sign = sign", ("tests/importing/test_conditions.py",)),
    neighbour("a name leaves its place in a URL", "links", 'quote(text, safe="") if', "text if", LINKED),
    neighbour("dots go up in a URL", "links", 'text.replace(".", "%252E")', "text", LINKED),
    neighbour("links begin where only canaryd gets", "links", "{kiali.shown}/console", "{kiali.url}/console", LINKED),
    neighbour("what lies ahead is in a run's time", "links", "min(run.ended + MARGIN, max(now, run.ended))", "run.ended + MARGIN", LINKED),
    neighbour("a name ends a query of Tempo's", "traceql", 'plain = text.replace', 'return text\n    plain = text.replace', LINKED),
    neighbour("stable's pods pass for the canary's", "naming", "pod.startswith(heads)", "bool(pod)", TRACED),
    neighbour("another namespace's pods pass for ours", "naming", "namespace == pin.namespace and ", "", TRACED),
    neighbour("a redirect is followed", "asking", "allow_redirects=False", "allow_redirects=True", TRACED),
    neighbour("requests takes credentials of its own", "asking", "auth=_as_it_is", "auth=None", TRACED),
    neighbour("an answer has no bound", "asking", "if len(read) > MOST:", "if len(read) > MOST * 1000:", TRACED),
    neighbour("an answer that drips has no end", "asking", "if time.monotonic() > deadline:", "if time.monotonic() > deadline + 60:", TRACED),
    neighbour("a fault of ours meets who shows a run", "looking", "        except Exception as error:", "        except AttributeError as error:", TRACED),
    neighbour("a name's look-up is waited for", "looking", "get(timeout=max(0.0, deadline - time.monotonic()))", "get()", TRACED),
    Plant("a receiver's event waits for traces", "canaryd/notify/channels.py", "self._settings[channel].url is not None", "True", ("tests/notify/test_channels.py",)),
    Plant("traces are looked for at each attempt", "canaryd/notify/channels.py", "if identity in self._found:", "if False:", ("tests/notify/test_channels.py",)),
    Plant("the last step is offered to be left out", "canaryd/report/explain.py", "range(run.step + 1, len(steps) - 1)", "range(run.step + 1, len(steps))", ("tests/report/test_options.py",)),
    Plant("a status passes for a journal", "canaryd/report/document.py", 'any("saw" in entry for entry in journal)', "bool(journal)", ("tests/report/test_document.py",)),
    neighbour("failures are looked for by one tag", "traces", 'FAILURES[:1] if self.speaks == "tempo" else FAILURES', "FAILURES[:1]", TRACED),
    neighbour("traces are looked for at any time", "links", "max(end for _, end in exposed) + TAIL", "max(end for _, end in exposed) + 90_000", LINKED),
    neighbour("told twice is marked twice", "annotations", "        if not found:\n", "        if True:\n", MARKS),
    neighbour("a mark's text is HTML", "annotations", "escape(plainly(event.reason, WORDS))", "plainly(event.reason, WORDS)", MARKS),
    neighbour("what only observes is marked", "annotations", " or run.plan.observes", "", MARKS),
    neighbour("marks wait without a bound", "annotations", "if len(self._waiting) >= MOST:", "if False:", MARKS),
    neighbour("an end waits for Grafana", "annotations", "thread.join(LAST + 1.0)", "thread.join()", MARKS),
    neighbour("a no is asked again and again", "annotations", "            except Unavailable as error:", "            except CanarydError as error:", MARKS),
    neighbour("the last mark is not waited for", "annotations", "return None if over or not", "return None if self._ending or not", MARKS),
    Plant("report: stable's failures are the canary's", 'canaryd/report/series.py', '            Rate.of(*_failed(cell.canary for cell in cells)),', '            Rate.of(*_failed(cell.stable for cell in cells)),', ("tests/report/test_traced.py",)),
    Plant("report: requests of both are stable's", 'canaryd/report/series.py', '    return sent, sent + cell.all_stable', '    return sent, cell.all_stable', ("tests/report/test_traced.py",)),
    Plant('report: a slow request is one bucket lower', 'canaryd/report/series.py', 'cell.bounds_ms.index(bound)) for', 'cell.bounds_ms.index(bound) - 1) for', ("tests/report/test_traced.py",)),
    Plant('report: a point lies where its band begins', 'canaryd/report/plots.py', 'cy=panel.y(rate.share / top), r=3', 'cy=panel.y(rate.low / top), r=3', ("tests/report/test_traced.py",)),
    Plant('report: a band is cut at its point', 'canaryd/report/plots.py', 'y2=panel.y(rate.high / top), class_="whisker"', 'y2=panel.y(rate.share / top), class_="whisker"', ("tests/report/test_traced.py",)),
    Plant('report: evidence is of the cells before', 'canaryd/report/decisions.py', '        tally.add(saw.get("cells") or ())\n', '        tally.add(())\n', ("tests/report/test_traced.py",)),
    Plant('report: the harm is every failure', 'canaryd/report/document.py', '            run.harmed.requests,\n', '            figures.canary.errors,\n', ("tests/report/test_document.py",)),
    Plant('report: a page adds up for itself', 'canaryd/report/layout.py', '_of(one.canary, one.canary_requests)', '_of(one.canary, one.canary_requests + 7)', ("tests/report/test_traced.py",)),
    Plant("report: the canary's requests are stable's", 'canaryd/report/layout.py', '("Requests, canary", figures_of(cost.canary))', '("Requests, canary", figures_of(cost.stable))', ("tests/report/test_html.py",)),
    Plant('report: nobody asked', 'canaryd/report/decisions.py', '    if asked:\n        return asked', '    if not asked:\n        return asked', ("tests/report/test_document.py",)),
    Plant('report: a command is told again and again', 'canaryd/model/askers.py', '        self._heard |= {one["id"] for one in fresh}\n', '', ("tests/report/test_document.py",)),
    Plant("report: what is carried out later is canaryd's", 'canaryd/model/askers.py', '        return fresh, [*fresh, *of_before]\n', '        return fresh, fresh\n', ("tests/report/test_document.py",)),
    Plant('report: a promotion without proof is proven', 'canaryd/report/document.py', '"nobody has shown that it is as good" if is_unproven(run) else', '"nobody has shown that it is as good" if False else', ("tests/report/test_document.py",)),
    Plant('report: half a journal passes for a whole', 'canaryd/report/document.py', '    if final and final not in events:\n', '    if False:\n', ("tests/report/test_document.py",)),
    Plant('report: any address is a link', 'canaryd/report/document.py', 'one.url.startswith(("https://", "http://"))', 'one.url.startswith("")', ("tests/report/test_document.py",)),
    Plant('report: a stretch goes over a gap', 'canaryd/report/series.py', '(isinstance(cell, Gap) or cell.segment', '(cell.segment', ("tests/report/test_document.py",)),
    Plant('report: a stretch goes over a change of weight', 'canaryd/report/series.py', ' or cell.segment != group[-1].segment or len(group)', ' or len(group)', ("tests/report/test_document.py",)),
    Plant('report: infinity in JSON', 'canaryd/report/document.py', '    if isinstance(value, float) and not math.isfinite(value):\n        return None\n', '', ("tests/report/test_document.py",)),
    Plant('report: Markdown means what others wrote', 'canaryd/report/markdown.py', '    line = _SPECIAL.sub(r"\\\\\\1", escape(line, quote=False))\n', '', ("tests/report/test_markdown.py",)),
    Plant('report: a plan closes its fence', 'canaryd/report/markdown.py', 'max(3, longest + 1)', '3', ("tests/report/test_markdown.py",)),
    Plant('report: a terminal obeys', 'canaryd/report/account.py', '    return " ".join(clean(text).split())', '    return " ".join(text.split(" "))', ("tests/report/test_account.py",)),
    Plant('report: evidence is told twice', 'canaryd/report/decisions.py', '        kept.append(replace(one, evidence=None) if same else one)', '        kept.append(one)', ("tests/report/test_account.py",)),
    Plant("report: the plan's requests are all", 'canaryd/metrics/asked.py', '    everything = (UNATTRIBUTED,) if cell.counted else (*failing, UNATTRIBUTED)', '    everything = (*failing, UNATTRIBUTED)', ("tests/metrics/test_asked.py",)),

    # the desk: who may, what is meant, and what is said of it
    Plant("desk: a token acts with our own rights", "canaryd/kube.py", 'settings.api_key, settings.api_key_prefix = {"authorization": f"Bearer {token}"}, {}', "settings.api_key_prefix = {}", ("tests/test_kube.py",), only="bearer"),
    Plant("desk: a word that comes late counts for the next step", "canaryd/desk/asking.py", "    step: int | None = seen.step\n", "    step: int | None = None\n", (DESK,), only="folder"),
    Plant("desk: a word that would do nothing is sent", "canaryd/desk/asking.py", '    if verb == "skip":\n        return _void_skip(run, skips)\n', "", (DESKS,), only="do_nothing"),
    Plant("desk: a promotion past a missing proof asks nobody", "canaryd/cli/acting.py", "    if missing := unproven(seen, run if isinstance(run, Run) else None):", "    if (missing := unproven(seen, run if isinstance(run, Run) else None)) and yes:", (DESKS,), only="missing_proof"),
    Plant("desk: what did nothing is said to have been heard", "canaryd/cli/acting.py", "            if why := turned_down(now, seen.decisions, word.verb):", "            if (why := turned_down(now, seen.decisions, word.verb)) and not within:", (DESKS,), only="did_nothing"),
    Plant("desk: a release is followed by the run before it", "canaryd/cli/acting.py", " and run.name not in former", "", (DESKS,), only="followed"),
    Plant("desk: a folder with runs is passed over", "canaryd/cli/places.py", "        if not typed and _holds_runs(settings.state):", "        if False:", (DESKS,), only="comes_before"),
    Plant("desk: a namespace that is typed is not looked into", "canaryd/cli/places.py", '("" if self.everywhere else self.namespace or usual,)', '("" if self.everywhere else usual,)', (DESKS,), only="as_with_kubectl"),
    Plant("desk: two namespaces' plans of one name are one", "canaryd/desk/finding.py", "    if len(found) > 1:", "    if len(found) > 9:", (DESKS,), only="several_namespaces"),
    Plant("desk: who may not read records sees nothing", "canaryd/desk/finding.py", "    except Rejected as error:\n        return str(error)", "    except Rejected:\n        raise", (DESKS,), only="may_not_read"),
    Plant("desk: what people write moves the cursor", "canaryd/cli/tables.py", 'letter if letter.isprintable() else " "', "letter", (DESK_TERMINAL,), only="cursor"),
    Plant("desk: colours where nobody wants them", "canaryd/cli/tables.py", ' and not os.environ.get("NO_COLOR")', "", (DESK_TERMINAL,), only="colour"),
    Plant("desk: an old run is run again", "canaryd/cli/acting.py", "    if word.verb in OF_THE_ENDED and (later :=", "    if not word.verb and (later :=", (DESKS,), only="only_the_last"),
    # the page: what somebody else's site, plan, token or proxy can do to it
    Plant("page: it answers under any name", "canaryd/web/guard.py", 'if scope["path"] != HEALTH and host not in self._addresses.hosts:', "if False:", (PAGE,), only="name_that_is_not_ours"),
    Plant("page: a form may come from anywhere", "canaryd/web/guard.py", 'return "" if origin.lower() in self._addresses.origins else', 'return "" if True else', (PAGE,), only="from_elsewhere"),
    Plant("page: anybody may frame it", "canaryd/web/guard.py", "frame-ancestors 'none'; \"\n", '"\n', (PAGE,), only="frames"),
    Plant("page: a form needs no token of its session", "canaryd/web/coming.py", "if not hmac.compare_digest(given.encode(), session.csrf.encode()):", "if False:", (PAGE,), only="session_s_token"),
    Plant("page: signing in leads anywhere", "canaryd/web/coming.py", "return target if harmless and", "return target if", (PAGE,), only="leads_nowhere"),
    Plant("page: one's session is the next one's", "canaryd/web/coming.py", "if kept is not None and kept.person.name == person.name:", "if kept is not None:", (PAGE,), only="proxy_may_bring"),
    Plant("page: a page that renews itself keeps its session", "canaryd/web/coming.py", "used = RENEWING not in request.query_params", "used = True", (PAGE,), only="nothing_is_done"),
    Plant("page: a session never ends", "canaryd/web/sessions.py", " or now - session.began > self.longest", "", (PAGE,), only="day_s_work"),
    Plant("page: any proxy is believed", "canaryd/web/people.py", "if not self._is_trusted(request.peer):", "if False:", (PAGE,), only="believed"),
    Plant("page: a proxy may say system:masters", "canaryd/web/people.py", 'if name.startswith("system:") or', "if", (PAGE,), only="nothing_more"),
    Plant("page: what people write is HTML", "canaryd/web/pages.py", "autoescape=True", "autoescape=False", (PAGE,), only="hostile"),
    Plant("page: one person's rights are served to all", "canaryd/web/serving.py", 'if auth == "kubeconfig" and not local:', "if False:", (PAGE,), only="lie_open"),
    Plant("page: a release that is there already is given again", "canaryd/desk/asking.py", "    if plan.release != version:\n        return \"\"\n", "    if True:\n        return \"\"\n", (PAGES,), only="no_release"),
    Plant("page: that Git keeps a plan is not said", "canaryd/web/releasing.py", "for keeper in plan.keepers]", "for keeper in plan.keepers[:0]]", (PAGES,), only="beside"),
    Plant("page: a promotion without proof asks nobody", "canaryd/web/acting.py", "if (doubt := unproven(seen, run)) and not order.sure:", "if False and (doubt := ''):", (PAGES,), only="without_proof"),
)  # fmt: skip


def misplaced(plants: tuple[Plant, ...] = PLANTS, tree: Path = TREE) -> list[str]:
    """Plants whose text is not in its file exactly once, and why."""
    found = []
    for plant in plants:
        times = (tree / plant.file).read_text().count(plant.old)
        if times != 1:
            found.append(f"{plant.name}: its text is in {plant.file} {times} times, wanted once: {plant.old!r}")
    return found


def caught(plant: Plant, tree: Path) -> tuple[bool, str]:
    """Whether the tests fail with the plant in ``tree``; and the first test that did."""
    file = tree / plant.file
    healthy = file.read_text()
    file.write_text(healthy.replace(plant.old, plant.new) if plant.old else healthy)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "--no-header",
        "-p",
        "no:cacheprovider",
        "-k",
        plant.only,
        *plant.tests,
    ]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False
        )
    except subprocess.TimeoutExpired:
        return True, f"not done after {DEADLINE:g} s"
    finally:
        file.write_text(healthy)
    if done.returncode == 1:
        failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED ")]
        return True, failed[0].split(" ")[1].split("::", 1)[-1] if failed else "a test"
    if done.returncode == 0:
        return False, "every test passed"
    return False, f"pytest itself ended with {done.returncode}: {(done.stdout + done.stderr).strip()[-200:]}"


def plant_all(plants: tuple[Plant, ...]) -> int:
    """Plant each in a copy of the tree, AT_ONCE of them at a time; the number of those that survived."""
    with tempfile.TemporaryDirectory(prefix="plants-") as place:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(AT_ONCE):
            trees.put(_copy(Path(place) / str(number)))

        def one(plant: Plant) -> tuple[Plant, bool, str, float]:
            tree, begun = trees.get(), time.monotonic()
            try:
                return (plant, *caught(plant, tree), time.monotonic() - begun)
            finally:
                trees.put(tree)

        nothing = Plant(
            "nothing", PLANTS[0].file, "", "", tuple(sorted({test for one in plants for test in one.tests}))
        )
        first = trees.get()
        sick, how = caught(nothing, first)
        trees.put(first)
        if sick or how != "every test passed":
            print(f"the tests fail with nothing planted: {how}", file=sys.stderr)
            return len(plants)
        survived = 0
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for plant, found, how, seconds in pool.map(one, plants):
                survived += not found
                print(f"{'caught' if found else 'SURVIVED':9} {plant.name:44} {seconds:5.1f} s  {how}", flush=True)
    print(f"\n{len(plants) - survived} of {len(plants)} planted violations caught")
    return survived


def _copy(tree: Path) -> Path:
    tree.mkdir()
    for name in COPIED:
        source = TREE / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy2(source, tree / name)
    return tree


def main(arguments: list[str]) -> int:
    words = [argument for argument in arguments if not argument.startswith("--")]
    plants = tuple(plant for plant in PLANTS if all(word in plant.name for word in words))
    if faults := misplaced(plants):
        print("\n".join(faults), file=sys.stderr)
        return 2
    return 0 if "--check" in arguments else int(plant_all(plants) > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
