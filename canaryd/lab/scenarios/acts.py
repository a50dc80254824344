"""
What an event does to the lab, and how it is undone.

Everything goes through the lab's public face or its cluster, as an experimenter's hand would. What Git and a person
write into the VirtualService goes past canaryd's marker and leaves it there, as ``kubectl edit`` and a GitOps tool do.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from canaryd.errors import Rejected
from canaryd.lab.kubernetes.objects import Options
from canaryd.lab.kubernetes.patching import JSON_PATCH
from canaryd.lab.lab import Lab
from canaryd.lab.scenarios.format import ApiTrouble, Behaviour, Event, Script
from canaryd.lab.scene import Scene
from canaryd.lab.workloads import set_ready
from canaryd.model.duration import render_duration

Json = dict[str, Any]
COMMAND_DEADLINE = 30.0


class Daemon:
    """canaryd in a process of its own, which may be killed and come again with the same ``command``."""

    def __init__(self, command: list[str], out: IO[bytes] | None, errors: IO[bytes]) -> None:
        self._command, self._out, self._errors = command, out, errors
        self._again: float | None = None
        self._process = self._started()

    def alive(self) -> bool:
        """Whether it runs, or is about to."""
        if self._again is not None and time.monotonic() >= self._again:
            self._again, self._process = None, self._started()
        return self._again is not None or self._process.poll() is None

    def kill(self, again: float) -> None:
        """End it at once, and let it be started again so many seconds later."""
        self._process.kill()
        self._process.wait()
        self._again = time.monotonic() + again

    def end(self) -> int:
        """Tell it to end if it still runs; its exit code."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            return self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=self._out, stderr=self._errors)


@dataclass
class Stage:
    """Where a scenario is played: the lab, the state folder of its canaryd, the seed; and canaryd, once it runs."""

    lab: Lab
    script: Script
    state: Path
    seed: int
    canaryd: Daemon | None = None


@dataclass(frozen=True)
class Act:
    """``what`` in words; ``begin`` does it, ``again`` repeats it each ``every`` seconds, ``end`` undoes it."""

    what: str
    begin: Callable[[], object]
    end: Callable[[], object] | None = None
    again: Callable[[], object] | None = None
    every: float = 0.0


def act_of(event: Event, stage: Stage) -> Act:
    """What ``event`` does on ``stage``. Raises Rejected for what this lab cannot do."""
    return _ACTS[event.act](event, stage)


def behaves(behaviour: Behaviour) -> str:
    """A behaviour in words: ``errors 2 %, tail 158ms``."""
    said = behaviour.model_dump(mode="json", by_alias=True, exclude_none=True, include=set(Behaviour.model_fields))
    return ", ".join(f"{name} {_readable(value)}" for name, value in said.items())


def _readable(value: Any) -> str:
    share = str(value).removesuffix("%")
    return f"{float(share):g} %" if share != str(value) else share


def _fault(event: Event, stage: Stage) -> Act:
    fault, faults = event.fault, stage.lab.faults
    assert fault is not None  # noqa: S101  # for the type checker: the act's own key
    pod: Json = {} if fault.pod is None else {"pod": fault.pod}
    former: dict[str, Json] = {}

    def begin() -> None:
        for version in fault.version:
            former[version] = dataclasses.asdict(faults.get(version, **pod))
            faults.set(version, **pod, **fault.dials())

    def end() -> None:
        for version, dials in former.items():
            faults.set(version, **pod, **dials)

    where = " and ".join(fault.version) + (f", pod {fault.pod} only" if pod else "")
    return Act(f"{where}: {behaves(fault)}", begin, end)


def _drain(event: Event, stage: Stage) -> Act:
    drain, lab = event.drain, stage.lab
    assert drain is not None  # noqa: S101  # as above

    def begin() -> None:
        if drain.pods is None:
            lab.drain(drain.version)
        else:
            _unready(lab, drain.version, drain.pods)

    many = "every pod" if drain.pods is None else f"{drain.pods} pod{'s' if drain.pods > 1 else ''}"
    return Act(f"{many} of {drain.version} drained", begin, lambda: lab.restore(drain.version))


def _restore(event: Event, stage: Stage) -> Act:
    restore = event.restore
    assert restore is not None  # noqa: S101  # as above
    return Act(f"every pod of {restore.version} ready again", lambda: stage.lab.restore(restore.version))


def _refuse(event: Event, stage: Stage) -> Act:
    refuse, lab = event.refuse, stage.lab
    assert refuse is not None  # noqa: S101  # as above
    where = "the pods" if refuse.pod is None else f"pod {refuse.pod}"
    begin = partial(lab.refuse, refuse.version, pod=refuse.pod)
    return Act(f"nothing listens at {where} of {refuse.version}", begin, lab.refuse_nobody)


def _restart(event: Event, stage: Stage) -> Act:
    restart = event.restart
    assert restart is not None  # noqa: S101  # as above
    return Act(f"the pods of {restart.version} replaced", lambda: replace_pods(stage.lab, restart.version))


def _image(event: Event, stage: Stage) -> Act:
    image = event.image
    assert image is not None  # noqa: S101  # as above
    what = f"{image.version} rolled out as {image.image}"
    return Act(what, lambda: stage.lab.roll_out(image.version, image.image))


def _prometheus(event: Event, stage: Stage) -> Act:  # noqa: ARG001  # every act takes both
    return Act("Prometheus away", lambda: stage.lab.prometheus.stop(), lambda: stage.lab.prometheus.start())


def _api(event: Event, stage: Stage) -> Act:
    trouble, lab = event.api, stage.lab
    assert trouble is not None  # noqa: S101  # as above
    if trouble.away:
        return Act("the Kubernetes API away", lab.stop_api, lab.start_api)
    return Act(_in_trouble(trouble), lambda: _order(lab, trouble), lambda: _recall(lab))


def _in_trouble(trouble: ApiTrouble) -> str:
    what = f"{trouble.to} of VirtualServices" if trouble.to != "all" else "all requests"
    often = f", {trouble.times} times" if trouble.times else ""
    if trouble.slow:
        return f"the Kubernetes API slow by {render_duration(trouble.slow)} ({what}{often})"
    return f"the Kubernetes API answers {trouble.answers} ({what}{often})"


def _order(lab: Lab, trouble: ApiTrouble) -> None:
    if lab.api is None:
        raise Rejected("api: the lab's Kubernetes API is away, so it cannot be in trouble as well")
    verb, resource = ("*", "*") if trouble.to == "all" else (trouble.to, "virtualservices")
    if trouble.slow:
        lab.api.faults.hang(verb, resource, trouble.slow.total_seconds(), times=trouble.times, perform=True)
    else:
        lab.api.faults.fail(verb, resource, trouble.answers or 500, times=trouble.times)


def _recall(lab: Lab) -> None:
    if lab.api is not None:
        lab.api.faults.clear()


def _gitops(event: Event, stage: Stage) -> Act:
    git, lab = event.gitops, stage.lab
    assert git is not None  # noqa: S101  # as above
    desired = {**stage.script.scenario.start.entry, "route": lab.scene.route(git.weights)}

    def put_back() -> None:
        if entry_of(lab) != desired:
            entry = f"/spec/http/{lab.scene.entry}"
            _patch(lab, [{"op": "replace", "path": entry, "value": desired}], "argocd-controller")

    every = git.every.total_seconds()
    return Act(
        f"Git says {_weights(git.weights)}, looked at every {every:g} s", put_back, lambda: None, put_back, every
    )


def _edit(event: Event, stage: Stage) -> Act:
    edit, lab = event.edit, stage.lab
    assert edit is not None  # noqa: S101  # as above
    if edit.weights:
        weights = edit.weights
        patch = [{"op": "replace", "path": f"/spec/http/{lab.scene.entry}/route", "value": lab.scene.route(weights)}]
        return Act(f"a hand sets {_weights(weights)}", lambda: _patch(lab, patch, "kubectl-edit"))
    entry = edit.entry or {}
    patch = [
        {"op": "add", "path": f"/spec/http/{lab.scene.entry}/{key}", "value": value} for key, value in entry.items()
    ]
    return Act(f"a hand sets {_keys(entry)}", lambda: _patch(lab, patch, "kubectl-edit"))


WORDS = {"adopt": ("resume", "--adopt"), "skip": ("skip-step",), "promote": ("promote", "--yes")}
"""Commands whose words are others than the verb."""


def _say(event: Event, stage: Stage) -> Act:
    say = event.say
    assert say is not None  # noqa: S101  # as above
    verb, *more = WORDS.get(say.verb, (say.verb,))
    more += ["--to-100" if verb == "promote" else "--force"] if say.force else []
    named = [stage.script.plan.name] + ([str(say.step)] if say.step is not None else [])
    command = [sys.executable, "-m", "canaryd", verb, *named, *more, "--state", str(stage.state)]
    command += ["--reason", say.reason or "the scenario says so"]
    return Act(" ".join(["canaryd", verb, *named[1:], *more]), partial(_typed, command))


def _typed(command: list[str]) -> None:
    """Raises Rejected with what it says where a command fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_DEADLINE, check=False)
    if done.returncode:
        raise Rejected(f"canaryd {command[3]}: {done.stderr.strip() or done.stdout.strip()}")


def _freeze(event: Event, stage: Stage) -> Act:
    freeze = event.freeze
    assert freeze is not None  # noqa: S101  # as above
    verb = "stop" if freeze.stop else "freeze"
    canaryd, state = [sys.executable, "-m", "canaryd"], ["--state", str(stage.state)]
    command = [*canaryd, verb, "--all", "--name", event.name, "--reason", "the scenario says so", "--for", "1h", *state]
    thaw = [*canaryd, "thaw", event.name, *state]
    return Act(f"canaryd {verb} --all", partial(_typed, command), partial(_typed, thaw))


def _kill(event: Event, stage: Stage) -> Act:
    kill = event.kill
    assert kill is not None  # noqa: S101  # as above
    again = kill.again.total_seconds()

    def begin() -> None:
        assert stage.canaryd is not None  # noqa: S101  # nothing happens before it runs
        stage.canaryd.kill(again)

    return Act(f"canaryd is killed, and comes again after {again:g} s", begin)


def _load(event: Event, stage: Stage) -> Act:
    load, traffic = event.load, stage.lab.load
    assert load is not None  # noqa: S101  # as above
    former: list[Callable[[float], float]] = []
    said = load.model_dump(mode="json", by_alias=True, exclude_none=True)
    shape = load.shape(stage.seed)
    return Act(
        f"load: {_keys(said)}",
        lambda: former.append(traffic.follow(shape)),
        lambda: traffic.follow(former[0]),
    )


_ACTS: Mapping[str, Callable[[Event, Stage], Act]] = {
    "fault": _fault,
    "drain": _drain,
    "restore": _restore,
    "refuse": _refuse,
    "restart": _restart,
    "image": _image,
    "prometheus": _prometheus,
    "api": _api,
    "gitops": _gitops,
    "edit": _edit,
    "say": _say,
    "freeze": _freeze,
    "kill": _kill,
    "load": _load,
}


# The mesh and the pods, as a hand finds and changes them


def entry_of(lab: Lab) -> Json:
    """The http entry on trial, as it stands."""
    found = lab.virtual_service()
    entries = lab.scene.entries_in(found)
    return dict(entries[lab.scene.entry]) if len(entries) > lab.scene.entry else {}


def share_of(scene: Scene, virtual_service: Json | None, version: str) -> float:
    """
    A version's weight in percent in the entry on trial; a single destination has everything, whatever its weight.

    Source: Istio, pilot/pkg/networking/core/route/route.go (a single destination is no weighted cluster).
    """
    weights = scene.weights_in(virtual_service)
    if len(weights) == 1:
        return 100.0 if version in weights else 0.0
    total = sum(weights.values())
    return 100 * weights.get(version, 0) / total if total else 0.0


def shares_of(scene: Scene, virtual_service: Json, version: str, routes: tuple[str, ...]) -> tuple[float, ...]:
    """The same in each of the entries with these names, in their order."""
    named = [place for place, one in enumerate(scene.entries_in(virtual_service)) if one.get("name") in routes]
    return tuple(share_of(dataclasses.replace(scene, entry=place), virtual_service, version) for place in named)


def replace_pods(lab: Lab, version: str) -> None:
    """Every pod of a version is evicted; the ReplicaSet's controller makes new ones, one after the other."""
    for pod in _pods_of(lab, version):
        lab.cluster.remove("Pod", pod["metadata"]["namespace"], pod["metadata"]["name"])
        lab.workloads.reconcile()
        lab.control_plane.settle()


def _unready(lab: Lab, version: str, count: int) -> None:
    """Make the first pods of a version not ready; the status of its Deployment follows."""
    pods = _pods_of(lab, version)
    if count > len(pods):
        raise Rejected(f"drain.pods: {version} has {len(pods)}, cannot drain {count}")
    set_ready(lab.cluster, pods[:count], ready=False)
    lab.workloads.reconcile()
    lab.control_plane.settle()


def _pods_of(lab: Lab, version: str) -> list[Json]:
    """The pods of a version that are there, by name."""
    scene = lab.scene
    return [
        pod
        for pod in lab.cluster.objects("Pod", scene.namespace)
        if scene.version_of(pod["metadata"].get("labels") or {}, scene.namespace) == version
    ]


def _patch(lab: Lab, patch: list[Json], manager: str) -> None:
    resource = lab.cluster.registry.by_kind("VirtualService")
    options = Options(manager=manager)
    lab.cluster.patch(resource, lab.scene.namespace, lab.scene.virtual_service, JSON_PATCH, patch, options)
    lab.control_plane.settle()
    if lab.control_plane.problem:
        raise Rejected(
            f"the lab's control plane cannot carry out what the scenario writes: {lab.control_plane.problem}"
        )


def _weights(weights: Mapping[str, int]) -> str:
    return ", ".join(f"{version} {weight}" for version, weight in weights.items())


def _keys(said: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in said.items())
