"""
The release manager's commands: each with its help, its forms and its errors, in a folder and on the lab's real API.

What the machine makes of a word is not theirs to say: here it has to arrive, signed, and be answered.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from canaryd.cli import app, watching
from canaryd.cli.exits import Exit
from canaryd.desk import VERBS, ClusterDesk
from canaryd.errors import CanarydError, Rejected, Unavailable
from canaryd.kube import CANARY_PLANS, CANARY_RUNS, NAMESPACES
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from canaryd.model.run import Hold, Outcome, Phase, Run
from canaryd.model.traffic import Split
from canaryd.store.folder import FolderStore
from canaryd.store.objects import in_short
from tests.cli.stage import Said, canaryd
from tests.desk.places import Place, in_cluster, in_folder, standing
from tests.neighbours.standing_in import Jaeger, mesh, standing_in
from tests.report import stories
from tests.stage import plan
from tests.store.places import NAMESPACE

REFUSED, USAGE, ROLLED_BACK, PROMOTED, LEFT = 13, 2, 10, 0, 14
READING = ("status", "history", "explain")
ACTING = ("hold", "resume", "approve", "advance", "promote", "abort", "rollback", "skip-step", "retry", "undo")
Meanwhile = Callable[[Callable[[], object]], None]
DESK = (*READING, *ACTING, "watch", "report", "release")


@dataclass(frozen=True)
class Typist:
    """Somebody at a terminal, who says where the runs are."""

    place: Place

    def __call__(self, command: str, *arguments: str) -> Said:
        return canaryd(command, *arguments, *self.place.typed)

    @property
    def in_cluster(self) -> bool:
        return self.place.kube is not None

    @contextmanager
    def carried_out(self, uid: str = "run-1") -> Iterator[None]:
        """A process carries the run out; in a cluster that is not to be seen."""
        if isinstance(self.place.store, FolderStore):
            with self.place.store.held(uid):
                yield
        else:
            yield


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with ApiServer(Cluster(), user="ana") as server:
        yield kubeconfig(server.address, tmp_path_factory.mktemp("api") / "kubeconfig")


@pytest.fixture
def cluster(api: Path) -> Typist:
    return Typist(in_cluster(api))


@pytest.fixture
def folder(tmp_path: Path) -> Typist:
    return Typist(in_folder(tmp_path / "state"))


@pytest.fixture(params=["folder", "cluster"])
def typist(request: pytest.FixtureRequest) -> Typist:
    found: Typist = request.getfixturevalue(request.param)
    return found


def baking(typist: Typist) -> Run:
    """A healthy run in the middle of its second step, with its journal and its plan."""
    run, journal = stories.baking()
    saved = typist.place.put(run, journal)
    typist.place.put_plan(saved)
    return saved


def rolled_back(typist: Typist) -> Run:
    run, journal = stories.rolled_back()
    saved = typist.place.put(run, journal)
    typist.place.put_plan(saved)
    return saved


# -- help


@pytest.mark.parametrize("command", DESK)
def test_each_command_has_help_that_says_where_it_looks(command: str) -> None:
    said = canaryd(command, "--help")
    assert said.code == 0
    for option in ("--state", "--namespace", "-A", "--kubeconfig", "--context"):
        assert option in said.out
    assert ("--reason" in said.out) == (command in (*ACTING, "release"))
    assert "--output" in said.out


def test_every_verb_of_a_run_has_a_command() -> None:
    """One that only kubectl could say would be no part of the desk."""
    names = set(get_command(app).commands)  # type: ignore[attr-defined]
    called = {"skip": "skip-step", "adopt": "resume"}
    assert {called.get(verb, verb) for verb in VERBS} <= names


# -- status


def test_status_is_a_line_a_plan(typist: Typist) -> None:
    run = baking(typist)
    said = typist("status")
    heading, line = said.out.splitlines()
    assert heading.split() == ["PLAN", "RELEASE", "RUN", "PHASE", "STEP", "WEIGHT", "SINCE", "WHY"]
    for cell in ("reviews", "v3", run.uid, "baking", "2/3", "25 %", run.waiting):
        assert cell in line
    assert said.code == 0


def test_status_as_data_has_keys_that_stay(typist: Typist) -> None:
    """They are documented, and other programs read them."""
    run = baking(typist)
    said = json.loads(typist("status", "-o", "json").out)
    assert said == yaml.safe_load(typist("status", "-o", "yaml").out)
    [found] = said
    assert {key: found[key] for key in ("namespace", "plan", "release", "run", "phase", "step", "steps")} == {
        "namespace": "default", "plan": "reviews", "release": "v3", "run": run.uid, "phase": "baking", "step": 2,
        "steps": 3,
    }  # fmt: skip
    assert (found["weight"], found["share"], found["why"]) == (25, "25 %", run.waiting)
    assert found["attended"] is (None if typist.in_cluster else False)
    assert set(found) - {"verdict", "since", "attended", "weight", "share", "why", "astray"} == {
        *("namespace", "plan", "release", "run", "phase", "step", "steps")
    }


def test_status_wide_hides_nothing(typist: Typist) -> None:
    baking(typist)
    assert {"NAMESPACE", "VERDICT"} <= set(typist("status", "-o", "wide").out.splitlines()[0].split())


def test_status_can_be_a_line_a_run(typist: Typist) -> None:
    rolled_back(typist)
    run, _ = stories.baking()
    typist.place.put(replace(run, uid="reviews-later", created=run.created + 9999))
    said = typist("status", "--runs")
    assert [line.split()[0] for line in said.out.splitlines()] == ["RUN", "reviews-v3-7f3a", "reviews-later"]
    assert len(json.loads(typist("status", "--runs", "-o", "json").out)) == 2


def test_status_of_one_says_what_it_waits_for_and_what_follows(typist: Typist) -> None:
    run = baking(typist)
    said = typist("status", "reviews").out
    assert said.startswith("default/reviews release v3: baking\n")
    assert f"waits     {'' if typist.in_cluster else 'no canaryd carries it out now; '}{run.waiting}" in said
    assert "step 2 of 3, 25 % to the canary" in said
    assert "then      At " in said
    assert run.evidence is not None
    assert all(reading.sentence in said for reading in run.evidence.readings)
    assert "step.passed: step 1 passed at 5 %" in said


def test_status_of_one_as_data_has_its_decisions(typist: Typist) -> None:
    run = rolled_back(typist)
    found = json.loads(typist("status", run.uid, "-o", "json").out)
    assert (found["outcome"], found["phase"], found["why"]) == ("failed", "rolled back", run.reason)
    assert found["decisions"][0]["event"] == "run.started"
    assert found["decisions"][-1]["reason"] == run.reason
    assert found["evidence"]
    assert found["ended"] == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(run.ended))


def test_where_there_is_nothing_status_says_where_it_looked(typist: Typist) -> None:
    """And it is no error; a script gets an empty list."""
    said = typist("status")
    assert (said.code, said.out) == (0, "")
    where = "plans in namespace default of context" if typist.in_cluster else "runs in "
    assert f"no {where}" in said.err
    assert "looks into another" in said.err
    assert json.loads(typist("status", "-o", "json").out) == []


# -- history, explain, report


def test_history_has_the_runs_of_a_plan_the_oldest_first(typist: Typist) -> None:
    run = rolled_back(typist)
    again, _ = stories.baking()
    typist.place.put(replace(again, uid="reviews-later", created=run.created + 9999))
    other = plan(release="1").model_copy(update={"metadata": run.plan.metadata.model_copy(update={"name": "other"})})
    typist.place.put(standing("other-1", plan=other))
    said = typist("history", "reviews")
    assert [line.split()[0] for line in said.out.splitlines()] == ["RUN", "reviews-v3-7f3a", "reviews-later"]
    assert run.reason in said.out
    assert [one["run"] for one in json.loads(typist("history", "reviews", "-o", "json").out)] == [
        *("reviews-v3-7f3a", "reviews-later")
    ]


def test_explain_says_why_and_every_decision(typist: Typist) -> None:
    run = rolled_back(typist)
    said = typist("explain", "reviews").out
    assert f"Reason: {run.reason}" in said
    decisions = [line.split(":")[0].strip() for line in said.splitlines() if line.startswith("   ")]
    told = [event for event in decisions if event.startswith(("run.", "step."))]
    assert (told[0], told.count("step.shifted"), told[-2:]) == (
        "run.started",
        1,
        ["run.rolling_back", "run.rolled_back"],
    )
    assert "sum by" not in said
    assert "sum by" in typist("explain", "reviews", "-o", "wide").out
    found = json.loads(typist("explain", "reviews", "-o", "json").out)
    assert found["explanation"].startswith("default/reviews release v3 (run reviews-v3-7f3a) was rolled back at")
    assert [one["event"] for one in found["decisions"]] == told


def test_explain_as_data_has_what_its_text_has(typist: Typist) -> None:
    """Every decision with its evidence, and the queries that the evidence names."""
    run = rolled_back(typist)
    account = json.loads(typist("explain", "reviews", "-o", "json").out)["account"]
    assert account["source"] == ("status" if typist.in_cluster else "journal")
    [turn] = [one for one in account["decisions"] if one["events"][0]["event"] == "run.rolling_back"]
    assert turn["events"][0]["reason"] == run.latch.reason
    [errors] = [one for one in turn["evidence"]["checks"] if one["check"] == "errors"]
    assert errors["harm"] > errors["harmBound"] > 0
    assert set(errors["queries"]) <= {one["name"] for one in account["queries"]}


def test_a_copy_of_the_journal_is_read_in_the_place_of_what_a_cluster_keeps(cluster: Typist, tmp_path: Path) -> None:
    """From a file, or as it comes out of the controller's pod; never one of another run."""
    run, journal = stories.rolled_back()
    cluster.place.put(run, journal)
    copy = tmp_path / "journal.jsonl"
    copy.write_text("".join(json.dumps(entry | {"run": run.uid}) + "\n" for entry in journal))
    for command in ("explain", "report"):
        as_kept = cluster(command, run.uid, "-o", "json")
        as_copied = cluster(command, run.uid, "-o", "json", "--journal", str(copy))
        piped = canaryd(command, run.uid, "-o", "json", "--journal", "-", *cluster.place.typed, given=copy.read_text())
        assert '"source": "status"' in as_kept.out
        assert '"source": "journal"' in as_copied.out
        assert piped.out == as_copied.out
    copy.write_text(json.dumps(journal[0] | {"run": "reviews-other"}))
    assert "is of run reviews-other, not of" in cluster("report", run.uid, "--journal", str(copy)).err
    for wrong in (b"", b"{}", b"\xff\xfe no journal"):
        copy.write_bytes(wrong)
        said = cluster("explain", run.uid, "--journal", str(copy))
        assert (said.code, "is no journal" in said.err, said.out) == (REFUSED, True, "")
    missing = cluster("explain", run.uid, "--journal", str(tmp_path / "none"))
    assert (missing.code, "cannot be read: No such file" in missing.err) == (REFUSED, True)


def test_the_report_goes_where_it_is_wanted(typist: Typist, tmp_path: Path) -> None:
    run = rolled_back(typist)
    page = typist("report", "reviews").out
    assert page.startswith("<!")
    assert run.reason.split(";")[0] in page
    said = typist("report", "reviews", "--out", str(tmp_path / "report.html"))
    assert said.code == 0
    assert (tmp_path / "report.html").read_text() == page
    nowhere = typist("report", "reviews", "--out", str(tmp_path / "no" / "report.html"))
    assert (nowhere.code, "cannot be written" in nowhere.err) == (REFUSED, True)


def test_the_report_leads_to_the_neighbours(typist: Typist, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the run is kept; those that are away cost their own links."""
    rolled_back(typist)
    jaeger = Jaeger(base="/jaeger", spans=mesh(stories.BEGAN + 50))
    monkeypatch.setenv("CANARYD_KIALI", "https://kiali.example/kiali")
    with standing_in(jaeger):
        monkeypatch.setenv("CANARYD_TRACING", jaeger.url)
        told = json.loads(typist("report", "reviews", "-o", "json").out)
        assert told["links"][0]["title"] == "Kiali: traffic to both versions"
        assert {one["title"] for one in told["traces"]} == {"failing request", "slow request"}
        assert told["traces"][0]["url"].startswith(f"{jaeger.url}/trace/")
        assert "answered 503 after" in told["traces"][0]["shows"]
        assert yaml.safe_load(typist("report", "reviews", "-o", "yaml").out) == told
        found = json.loads(typist("links", "reviews", "-o", "json").out)
        assert yaml.safe_load(typist("links", "reviews", "-o", "yaml").out) == found
        assert found["traces"]["found"][0]["failed"]
        lines = typist("links", "reviews").out.splitlines()
        assert "Jaeger: failing requests to v3" in lines
        assert "Example traces" in lines
    without = json.loads(typist("report", "reviews", "-o", "json").out)
    assert without["links"][0] == told["links"][0]
    assert without["traces"] == []


# -- watch


def test_watch_ends_with_the_run_and_says_how(typist: Typist, meanwhile: Meanwhile) -> None:
    """Without a terminal a line for each change, and the exit code of canaryd run."""
    run = baking(typist)
    ended, _ = stories.rolled_back()
    meanwhile(lambda: typist.place.move(ended))
    said = typist("watch", run.uid)
    assert said.code == ROLLED_BACK
    assert "reviews v3: baking at 25 %, step 2 of 3" in said.out
    assert said.out.splitlines()[-1] == f"rolled back: {ended.reason}"


def test_watch_as_data_is_the_run_at_each_change(typist: Typist, meanwhile: Meanwhile) -> None:
    """A line of JSON, or a document of YAML; nothing else is on standard output."""
    run = baking(typist)
    ended, _ = stories.rolled_back()
    meanwhile(lambda: typist.place.move(ended))
    said = typist("watch", run.uid, "-o", "json")
    assert said.code == ROLLED_BACK
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [one["phase"] for one in lines] == ["baking", "rolled back"]
    assert lines[-1] == json.loads(typist("history", "reviews", "-o", "json").out)[-1]
    again = typist("watch", run.uid, "-o", "yaml")
    assert list(yaml.safe_load_all(again.out)) == lines[-1:]


def test_all_in_flight_as_data(typist: Typist, meanwhile: Meanwhile) -> None:
    going, _ = stories.baking()
    promoted, _ = stories.promoted()
    for uid in ("one", "two"):
        typist.place.put(replace(going, uid=uid))
    meanwhile(lambda: [typist.place.move(replace(promoted, uid=uid)) for uid in ("one", "two")])
    said = typist("watch", "-o", "json")
    assert said.code == 0
    told = [json.loads(line) for line in said.out.splitlines()]
    assert sorted((one["run"], one["phase"]) for one in told) == [
        ("one", "baking"), ("one", "promoted"), ("two", "baking"), ("two", "promoted")
    ]  # fmt: skip


def test_watch_finds_the_one_in_flight(typist: Typist, meanwhile: Meanwhile) -> None:
    run = rolled_back(typist)
    nothing = typist("watch")
    assert (nothing.code, "nothing is in flight in" in nothing.err) == (REFUSED, True)
    promoted, _ = stories.promoted()
    going, _ = stories.baking()
    typist.place.put(replace(going, uid="reviews-later", created=run.created + 9999))
    meanwhile(lambda: typist.place.move(replace(promoted, uid="reviews-later")))
    said = typist("watch")
    assert (said.code, said.out.splitlines()[-1]) == (PROMOTED, f"promoted: {in_short(promoted.reason)}")


def test_watch_shows_all_that_are_in_flight(typist: Typist, meanwhile: Meanwhile) -> None:
    going, _ = stories.baking()
    promoted, _ = stories.promoted()
    for uid in ("one", "two"):
        typist.place.put(replace(going, uid=uid))

    def end() -> None:
        for uid in ("one", "two"):
            typist.place.move(replace(promoted, uid=uid))

    meanwhile(end)
    said = typist("watch")
    assert said.code == 0
    assert [f"{uid}: reviews v3: promoted" in said.out for uid in ("one", "two")] == [True, True]


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """What happens between the first look and the second."""

    def do(act: Callable[[], object]) -> None:
        acts = [act]
        monkeypatch.setattr(watching, "rest", lambda *_: acts.pop()() if acts else time.sleep(0.05))

    return do


# -- words to a run


def waiting_at_its_gate(typist: Typist) -> Run:
    hold = Hold("gate", "waiting for a person", 1_000_060.0, None)
    return typist.place.put(standing(hold=hold, waiting="waiting for a person's approval at 5 %"))


@pytest.mark.parametrize(
    ("typed", "verb", "rest"),
    [
        (("approve", "run-1"), "approve", {"step": 0}),
        (("hold", "run-1"), "hold", {}),
        (("advance", "run-1"), "advance", {"step": 0}),
        (("skip-step", "run-1", "2"), "skip", {"step": 0, "skips": 1}),
        (("abort", "run-1"), "abort", {}),
        (("abort", "run-1", "--force"), "abort", {"force": True}),
        (("rollback", "reviews"), "abort", {}),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, tuple) else "",
)
def test_a_word_arrives_signed_and_with_its_reason(
    typist: Typist, typed: tuple[str, ...], verb: str, rest: dict[str, Any]
) -> None:
    """Who it is the API server says; in a folder it is this machine's user."""
    waiting_at_its_gate(typist)
    with typist.carried_out():
        said = typist(typed[0], *typed[1:], "--reason", "seen by two", "--wait", "0s")
    assert said.code == 0, said.err
    assert "is asked of run run-1" in said.out
    [heard] = typist.place.commands("run-1")
    assert (heard.verb, heard.reason, heard.by) == (verb, "seen by two", typist.place.desk.me())
    assert (heard.step, heard.skips, heard.force) == (rest.get("step"), rest.get("skips"), rest.get("force", False))
    if typist.in_cluster:
        assert heard.by == "ana"


FROM_ANY_STEP = ("promote", "run-1", "--to-100", "--yes", "--reason", "seen by two", "--wait", "0s")


def test_a_promotion_goes_past_no_approval_that_was_not_given(typist: Typist) -> None:
    waiting_at_its_gate(typist)
    with typist.carried_out():
        said = typist(*FROM_ANY_STEP)
    assert (said.code, typist.place.commands("run-1")) == (Exit.REFUSED, ())
    assert "an approval is ahead, and is given first" in said.err


def test_a_promotion_from_any_step_arrives_where_no_approval_is_ahead(typist: Typist) -> None:
    typist.place.put(standing(approved=(0,)))
    with typist.carried_out():
        assert typist(*FROM_ANY_STEP).code == 0
    [heard] = typist.place.commands("run-1")
    assert (heard.verb, heard.reason, heard.step, heard.force) == ("promote", "seen by two", 0, True)


@pytest.mark.parametrize(("option", "verb"), [((), "resume"), (("--reassert",), "resume"), (("--adopt",), "adopt")])
def test_what_others_changed_is_set_again_or_taken_over(typist: Typist, option: tuple[str, ...], verb: str) -> None:
    typist.place.put(standing(hold=Hold("drift", "somebody set the canary to 3 %", 1_000_060.0, None)))
    with typist.carried_out():
        assert typist("resume", "run-1", *option, "--wait", "0s").code == 0
    assert [one.verb for one in typist.place.commands("run-1")] == [verb]
    assert typist("resume", "run-1", "--reassert", "--adopt").code == USAGE


@pytest.mark.parametrize("fault", [Rejected("the record is damaged"), Unavailable("no answer within 10 s")])
def test_no_record_that_cannot_be_read_stands_in_the_way_of_an_abort(
    cluster: Typist, monkeypatch: pytest.MonkeyPatch, fault: CanarydError
) -> None:
    """Nothing blocks a rollback: the word is for the CanaryRun, and needs nothing else of it."""
    waiting_at_its_gate(cluster)

    def unread(*_: Any) -> Run:
        raise fault

    monkeypatch.setattr(ClusterDesk, "run", unread)
    assert cluster("abort", "run-1", "--reason", "the shop is down", "--wait", "0s").code == 0
    [heard] = cluster.place.commands("run-1")
    assert (heard.verb, heard.reason) == ("abort", "the shop is down")
    if isinstance(fault, Rejected):
        said = cluster("explain", "run-1")
        assert (said.code, "the record is damaged" in said.err) == (0, True)


@pytest.mark.parametrize("verb", ["retry", "undo"])
def test_what_has_ended_is_run_again_or_taken_back_by_the_controller(cluster: Typist, verb: str) -> None:
    """In a cluster it is a command of the run that has ended."""
    run, _ = stories.rolled_back() if verb == "retry" else stories.promoted()
    cluster.place.put(run)
    said = cluster(verb, "reviews", "--reason", "the fix is in", "--wait", "0s")
    assert said.code == 0, said.err
    [heard] = cluster.place.commands(run.uid)
    assert (heard.verb, heard.by, heard.reason, heard.step) == (verb, "ana", "the fix is in", None)


@pytest.mark.parametrize("verb", ["retry", "undo"])
def test_only_the_last_run_of_a_plan_is_run_again_or_taken_back(cluster: Typist, verb: str) -> None:
    """The controller looks at no other, so that the word would never be answered."""
    run, _ = stories.promoted()
    cluster.place.put(run)
    cluster.place.put(replace(run, uid="reviews-later", created=run.created + 9999))
    said = cluster(verb, run.uid, "--wait", "0s")
    assert (said.code, "and run reviews-later came after it" in said.err) == (REFUSED, True)
    assert cluster.place.commands(run.uid) == ()


def answered_at_once(cluster: Typist, monkeypatch: pytest.MonkeyPatch) -> None:
    """A controller that begins another run as soon as it is asked."""
    run = rolled_back(cluster)
    ask = ClusterDesk.ask

    def answered(*said: Any) -> None:
        ask(*said)
        cluster.place.put(replace(stories.baking()[0], uid="reviews-again", created=run.created + 9999))

    monkeypatch.setattr(ClusterDesk, "ask", answered)


def test_a_retry_that_is_answered_names_the_new_run(cluster: Typist, monkeypatch: pytest.MonkeyPatch) -> None:
    answered_at_once(cluster, monkeypatch)
    said = cluster("retry", "reviews", "--wait", "20s")
    assert said.out == "retry: run reviews-again has begun: canaryd watch reviews-again -n default\n"


def test_a_retry_as_data_is_the_new_run(cluster: Typist, monkeypatch: pytest.MonkeyPatch) -> None:
    answered_at_once(cluster, monkeypatch)
    found = json.loads(cluster("retry", "reviews", "--wait", "20s", "-o", "json").out)
    assert (found["said"], found["heard"], found["run"]) == ("retry", True, "reviews-again")


def test_in_a_folder_a_release_is_run_again_from_its_file(folder: Typist) -> None:
    rolled_back(folder)
    said = folder("retry", "reviews")
    assert (said.code, "canaryd run reviews.yaml --again --state" in said.err) == (REFUSED, True)


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        (("approve",), "has no gate that asks for an approval"),
        (("resume",), "resume is for a person's hold, or weights that somebody else changed"),
        (("resume", "--adopt"), "adopt is for weights that somebody else changed"),
        (("promote", "--reason", "x", "--yes"), "promote counts at the last step only"),
        (("skip-step", "3"), "none can be left out, and never the last"),
        (("skip-step", "2"), "the run is baking in step 2 of 3"),
        (("retry",), "has not ended: it is baking in step 2 of 3"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, tuple) else "",
)
def test_a_word_that_would_do_nothing_is_not_said(cluster: Typist, typed: tuple[str, ...], why: str) -> None:
    run = baking(cluster)
    said = cluster(typed[0], "reviews", *typed[1:], "--wait", "0s")
    assert (said.code, why in said.err) == (REFUSED, True), said.err
    assert cluster.place.commands(run.uid) == ()


def test_a_run_that_has_ended_hears_nothing(typist: Typist) -> None:
    rolled_back(typist)
    for verb in ("abort", "hold", "approve", "advance"):
        said = typist(verb, "reviews", "--wait", "0s")
        assert (said.code, "has ended: rolled back" in said.err) == (REFUSED, True)


def test_to_promote_past_a_missing_proof_takes_a_yes(typist: Typist) -> None:
    """And without somebody who could answer it is a fault of usage, not a guess."""
    run, _ = stories.baking()
    last = replace(run, step=2, split=Split.percent(50))
    typist.place.put(last)
    with typist.carried_out(run.uid):
        said = typist("promote", "reviews", "--reason", "Friday", "--wait", "0s")
        assert said.code == USAGE
        assert "it is not proven that the canary is no worse" in said.err
        assert "say --yes" in said.err
        assert typist.place.commands(run.uid) == ()
        assert typist("promote", "reviews", "--reason", "Friday", "--wait", "0s", "--yes").code == 0
    assert [one.verb for one in typist.place.commands(run.uid)] == ["promote"]
    assert typist("promote", "reviews").code == USAGE, "a reason is asked for"


def test_a_word_that_was_heard_is_said_to_be(cluster: Typist) -> None:
    """The controller answers within a second or two, and then nobody has to look themselves."""
    waiting_at_its_gate(cluster)
    obeying = obey(cluster, {"hold": None, "phase": Phase.SHIFTING, "waiting": "5 % was written"}, [])
    said = cluster("approve", "run-1", "--wait", "20s")
    obeying.join()
    assert (said.code, said.out) == (0, "approve: run run-1 has heard it; shifting, 5 %: 5 % was written\n")


def test_the_answer_to_a_word_as_data(cluster: Typist) -> None:
    """Who was heard, and where the run stands then; a word that is not heard yet says so."""
    waiting_at_its_gate(cluster)
    not_yet = json.loads(cluster("approve", "run-1", "--wait", "0s", "-o", "json").out)
    assert (not_yet["said"], not_yet["heard"], not_yet["run"], not_yet["phase"]) == ("approve", False, "run-1", "held")
    assert not_yet["answer"].startswith("approve is asked of run run-1;")
    obeying = obey(cluster, {"hold": None, "phase": Phase.SHIFTING, "waiting": "5 % was written"}, [])
    obeying.join()
    [first] = cluster.place.commands("run-1")
    assert not_yet["command"] == first.id
    answered = json.loads(cluster("abort", "run-1", "--wait", "0s", "-o", "json").out)
    assert (answered["said"], answered["phase"], answered["why"]) == ("abort", "shifting", "5 % was written")
    assert yaml.safe_load(cluster("hold", "run-1", "--wait", "0s", "-o", "yaml").out)["said"] == "hold"


def test_a_word_that_nobody_hears_is_data_and_a_warning(folder: Typist) -> None:
    """No process carries the run out: standard output has the data alone."""
    run = baking(folder)
    said = folder("hold", run.uid, "-o", "json")
    assert (said.code, json.loads(said.out)["heard"], json.loads(said.out)["attended"]) == (0, False, False)
    assert "no canaryd carries it out now" in said.err


def test_a_word_that_did_nothing_is_said_to_have_done_nothing(cluster: Typist) -> None:
    waiting_at_its_gate(cluster)
    void = ["command.void", "approve was meant for step 1; it has passed"]
    obeying = obey(cluster, {"step": 1}, [{"at": 1_000_099.0, "phase": "baking", "split": 5000, "events": [void]}])
    said = cluster("approve", "run-1", "--wait", "20s")
    obeying.join()
    assert (said.code, "approve did nothing: approve was meant for step 1;" in said.err) == (
        REFUSED,
        True,
    )


def obey(typist: Typist, changes: dict[str, Any], journal: list[dict[str, Any]]) -> threading.Thread:
    """Who carries the run out hears the first command, and moves the run."""

    def carry_out() -> None:
        while not (heard := typist.place.commands("run-1")):
            time.sleep(0.05)
        run = typist.place.store.load("run-1").run
        typist.place.move(replace(run, obeyed=(heard[0].id,), **changes), journal)

    thread = threading.Thread(target=carry_out)
    thread.start()
    return thread


# -- a release


def test_a_release_is_a_line_in_the_plan(cluster: Typist) -> None:
    """And who asked for it, and why, is written beside it."""
    rolled_back(cluster)
    said = cluster("release", "reviews", "v3.1", "--reason", "the fix")
    assert said.code == 0, said.err
    assert "plan default/reviews: release v3 -> v3.1" in said.out
    found = cluster.place.kube.get(CANARY_PLANS, NAMESPACE, "reviews")  # type: ignore[union-attr]
    assert found["spec"]["release"] == "v3.1"
    assert found["metadata"]["annotations"] == {
        "canaryd.io/released-by": "ana",
        "canaryd.io/release-reason": "the fix",
    }
    assert found["spec"]["steps"][0]["weight"] == 5, "nothing else is touched"


def test_a_release_as_data_is_the_plan_that_asks_for_it(cluster: Typist) -> None:
    rolled_back(cluster)
    found = json.loads(cluster("release", "reviews", "v3.1", "-o", "json").out)
    assert {key: found[key] for key in ("said", "former", "namespace", "plan", "release", "run")} == {
        "said": "release", "former": "v3", "namespace": "default", "plan": "reviews", "release": "v3.1", "run": None
    }  # fmt: skip


def test_a_release_that_is_asked_for_already_is_not_asked_for_again(cluster: Typist) -> None:
    rolled_back(cluster)
    said = cluster("release", "reviews", "v3")
    assert (said.code, "asks for release 'v3' already" in said.err, "canaryd retry" in said.err) == (13, True, True)


@pytest.mark.parametrize(
    ("marks", "keeper"),
    [
        ({"annotations": {"argocd.argoproj.io/tracking-id": "shop:canaryd.io/CanaryPlan:default/reviews"}}, "Argo CD"),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "shop"}}, "Kustomization shop of Flux"),
    ],
)
def test_a_plan_that_git_keeps_is_warned_of(cluster: Typist, marks: dict[str, Any], keeper: str) -> None:
    run, _ = stories.rolled_back()
    cluster.place.put_plan(run, **marks)
    said = cluster("release", "reviews", "v3.1")
    assert said.code == 0
    assert f"is kept by {keeper}" in said.err or "Application shop of Argo CD" in said.err
    assert "write spec.release: 'v3.1' there, too" in said.err


@pytest.mark.parametrize("at_once", [True, False])
def test_a_release_can_be_followed_to_its_end(
    cluster: Typist, meanwhile: Meanwhile, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    """The run that begins now, not one of before; a controller that is quick has begun it before anybody looks."""
    former = rolled_back(cluster)
    promoted, journal = stories.promoted()
    of = promoted.plan.model_copy(update={"spec": promoted.plan.spec.model_copy(update={"release": "v3.1"})})
    cluster.place.put(replace(former, uid="reviews-older", plan=of, created=former.created - 9999))

    def begin() -> None:
        cluster.place.put(replace(promoted, uid="reviews-new", plan=of), journal)

    if at_once:
        ask = ClusterDesk.release

        def begun_at_once(*said: Any) -> None:
            ask(*said)
            begin()

        monkeypatch.setattr(ClusterDesk, "release", begun_at_once)
    meanwhile((lambda: None) if at_once else begin)
    said = cluster("release", "reviews", "v3.1", "--wait")
    assert (said.code, said.out.splitlines()[-1]) == (PROMOTED, f"promoted: {in_short(promoted.reason)}")


def test_in_a_folder_a_release_is_written_into_the_file(folder: Typist) -> None:
    baking(folder)
    said = folder("release", "reviews", "v4")
    assert (said.code, "write release: 'v4' into it" in said.err) == (REFUSED, True)


# -- errors, with advice


@pytest.mark.parametrize("command", ["status", "explain", "watch", "report", "abort", "approve", "retry", "undo"])
def test_a_name_that_is_none_is_answered_with_where_was_looked(typist: Typist, command: str) -> None:
    baking(typist)
    said = typist(command, "revews")
    assert said.code == REFUSED
    assert "there is no run or plan revews in" in said.err
    assert "(there: reviews" in said.err
    assert ("-A into all" if typist.in_cluster else "-n NAMESPACE or -A into the cluster") in said.err


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        (("-n", "shop", "-A"), "one of the two"),
        (("--state", "here", "-n", "shop"), "a folder, or a cluster"),
        (("--context", "nowhere"), "there is no context nowhere"),
    ],
)
def test_contradictions_are_refused(api: Path, typed: tuple[str, ...], problem: str) -> None:
    said = canaryd("status", "--kubeconfig", api, *typed)
    assert (said.code, problem in said.err) == (REFUSED, True), said.err


def test_a_wait_that_is_none_is_refused(typist: Typist) -> None:
    waiting_at_its_gate(typist)
    said = typist("approve", "run-1", "--wait", "soon")
    assert (said.code, "--wait" in said.err) == (REFUSED, True)
    assert typist.place.commands("run-1") == ()


@pytest.mark.parametrize(
    ("denied", "typed", "right", "role"),
    [
        (("list", "canaryplans"), ("status",), "may not list canaryplans.canaryd.io", "canaryd-viewer"),
        (("list", "canaryruns"), ("explain", "reviews"), "may not list canaryruns.canaryd.io", "canaryd-viewer"),
        (("patch", "canaryruns"), ("abort", "reviews"), "may not abort canaryruns.canaryd.io", "canaryd-operator"),
        (("patch", "canaryruns"), ("approve", "reviews"), "may not approve canaryruns.canaryd.io", "canaryd-approver"),
        (("patch", "canaryplans"), ("release", "reviews", "v4"), "may not patch canaryplans", "canaryd-operator"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, tuple) else "",
)
def test_who_may_not_is_told_what_right_is_missing_and_how_it_is_granted(
    denied: tuple[str, str], typed: tuple[str, ...], right: str, role: str, tmp_path: Path
) -> None:
    shared = Cluster()
    with ApiServer(shared) as all_rights, ApiServer(shared, denied=(denied,), user="ana") as few:
        place = in_cluster(kubeconfig(all_rights.address, tmp_path / "all"))
        run, journal = stories.gated()
        place.put_plan(place.put(run, journal))
        config = kubeconfig(few.address, tmp_path / "few")
        said = canaryd(typed[0], *typed[1:], "--kubeconfig", config, "-n", "default")
    assert said.code == REFUSED
    assert f"ana {right}" in said.err
    assert f"kubectl create rolebinding {role}-ana --clusterrole={role} --user=ana -n default" in said.err


def test_who_may_not_read_records_reads_the_status(tmp_path: Path) -> None:
    """It tells where the run stands, the evidence and the decisions; and what is missing is said."""
    shared = Cluster()
    with ApiServer(shared) as all_rights, ApiServer(shared, denied=(("get", "canaryrecords"),)) as few:
        place = in_cluster(kubeconfig(all_rights.address, tmp_path / "all"))
        run, journal = stories.gated()
        place.put(run, journal)
        where = ("--kubeconfig", str(kubeconfig(few.address, tmp_path / "few")), "-n", "default")
        told, short = canaryd("explain", "reviews", *where), canaryd("status", "reviews", *where)
        approved = canaryd("approve", "reviews", "--wait", "0s", *where)
        report = canaryd("report", "reviews", *where)
    assert told.code == short.code == 0
    assert run.waiting in told.out
    assert run.waiting in short.out
    assert "Decisions, in order:" in told.out
    assert "only what its status says could be read" in told.err
    assert approved.code == 0
    assert [one.verb for one in place.commands(run.uid)] == ["approve"] if place.kube is None else True
    assert (report.code, "may not get canaryrecords" in report.err) == (REFUSED, True)


def test_an_api_server_without_our_kinds_is_told_how_to_get_them(tmp_path: Path) -> None:
    with ApiServer(Cluster()) as server:
        said = canaryd("status", "--kubeconfig", kubeconfig(server.address, tmp_path / "kubeconfig"))
    assert said.code == REFUSED
    assert "does not know canaryplans.canaryd.io" in said.err
    assert "canaryd crds | kubectl apply --server-side -f -" in said.err


def test_a_server_that_does_not_answer_is_no_empty_list(tmp_path: Path) -> None:
    said = canaryd("status", "--kubeconfig", kubeconfig("http://127.0.0.1:9", tmp_path / "kubeconfig"))
    assert (said.code, "try again when it answers" in said.err) == (REFUSED, True)


def test_a_run_that_no_canaryd_wrote_is_told_and_hides_no_other(cluster: Typist) -> None:
    run = baking(cluster)
    body = {"apiVersion": "canaryd.io/v1alpha1", "kind": "CanaryRun", "metadata": {"name": "odd"}}
    spec = {"plan": {}, "route": {}, "created": "2026-01-01T00:00:00Z", "split": 0}
    assert cluster.place.kube is not None
    cluster.place.kube.create(CANARY_RUNS, NAMESPACE, body | {"spec": spec | {"route": _route(run)}})
    said = cluster("status", "--runs")
    assert said.code == 0
    assert run.uid in said.out
    assert "CanaryRun default/odd is not a run that this canaryd wrote" in said.out
    assert cluster("explain", "odd").code == REFUSED


def _route(run: Run) -> dict[str, Any]:
    side = {"host": "reviews"}
    return {"virtualService": "reviews", "entries": [{"index": 0}], "stable": side, "canary": side}


# -- which place


def test_a_folder_with_runs_comes_before_the_cluster(
    cluster: Typist, api: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is typed; a namespace that is typed means the cluster."""
    baking(cluster)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(api))
    assert "reviews-v3-7f3a" in canaryd("status").out
    in_folder(tmp_path / ".canaryd").put(standing("in-a-folder"))
    assert "in-a-folder" in canaryd("status").out
    assert "reviews-v3-7f3a" in canaryd("status", "-n", "default").out
    assert "reviews-v3-7f3a" in canaryd("status", "-A").out
    assert canaryd("status", "-n", "nobody").out == ""
    monkeypatch.setenv("CANARYD_STATE", str(tmp_path / "elsewhere"))
    assert "no runs in" in canaryd("status").err
    assert "reviews-v3-7f3a" in canaryd("status", "-A").out


def test_the_namespace_is_the_contexts_as_with_kubectl(cluster: Typist, api: Path, tmp_path: Path) -> None:
    baking(cluster)
    config = yaml.safe_load(api.read_text())
    config["contexts"][0]["context"]["namespace"] = "shop"
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    said = canaryd("status", "--kubeconfig", tmp_path / "kubeconfig")
    assert "no plans in namespace shop of context" in said.err
    assert "reviews" in canaryd("status", "--kubeconfig", tmp_path / "kubeconfig", "-n", "default").out


def test_where_there_is_neither_both_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    said = canaryd("status")
    assert said.code == REFUSED
    assert "no runs in .canaryd, and no cluster: there is no kubeconfig at" in said.err
    assert "--state DIR looks into another folder" in said.err


def test_several_namespaces_are_told_apart(cluster: Typist, api: Path) -> None:
    """One name in two namespaces means neither until its namespace is said."""
    run = baking(cluster)
    assert cluster.place.kube is not None
    found = cluster.place.kube.get(CANARY_RUNS, NAMESPACE, run.uid)
    spec = found["spec"] | {"plan": found["spec"]["plan"] | {"metadata": {"name": "reviews", "namespace": "shop"}}}
    body = {"apiVersion": found["apiVersion"], "kind": "CanaryRun", "metadata": {"name": "shop-1"}, "spec": spec}
    cluster.place.kube.create(NAMESPACES, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    cluster.place.kube.create(CANARY_RUNS, "shop", body)
    try:
        where = ("--kubeconfig", str(api), "-A")
        said = canaryd("explain", "reviews", *where)
        assert (said.code, "reviews is ambiguous: default/reviews-v3-7f3a, shop/shop-1" in said.err) == (13, True), said
        assert "release v3 (run shop-1)" in canaryd("explain", "shop/reviews", *where).out
        assert "NAMESPACE" in canaryd("status", "--runs", *where).out
    finally:
        cluster.place.kube.delete(CANARY_RUNS, "shop", "shop-1")


def test_who_is_asked_for_an_approval_by_name(cluster: Typist) -> None:
    of = plan(gate_at=0, gate={"limit": "1h", "by": ["eve"]})
    cluster.place.put(standing(plan=of, outcome=None))
    said = cluster("approve", "run-1", "--wait", "0s")
    assert (said.code, "the plan asks for the approval of eve, and you are ana" in said.err) == (REFUSED, True)
    assert Outcome.PROMOTED.value not in said.err
