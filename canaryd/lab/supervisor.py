"""
A lab that other processes can use: up, down, status, and a small control server.

The running lab writes one state file (pid, URLs); it is the only thing that `down` and `status` read. A state file
whose process is gone is stale: the process is known by pid *and* start time, because pids are used again.

Control is JSON over HTTP on 127.0.0.1: `GET /status`, `/counts`, `/books`, `/seconds`; `POST /faults`, `/drain`,
`/restore`, `/image`, `/weights`, `/rate`, `/protocol`, `/stream`, `/lag`, `/sidecar`, `/refuse`, `/prometheus`, `/api`,
`/controller`, `/down`. `ORDERS` at the end has their bodies.

Nothing is left behind: a lab's own directory is removed when it ends, and one whose lab was killed by the next `up` or
`down`, which knows it by the process in its name. Envoy and Prometheus are killed with the lab by the kernel.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from canaryd.errors import CanarydError, Conflict, Rejected, Unavailable
from canaryd.lab import glance
from canaryd.lab.lab import Lab
from canaryd.lab.load import GRPC, HTTP
from canaryd.lab.local_http import exchange
from canaryd.lab.prometheus import find_or_fetch
from canaryd.lab.scene import Scene

Json = dict[str, Any]
START_DEADLINE = 60.0
OWN = "canaryd-lab-"


@dataclass(frozen=True, slots=True)
class State:
    """What a running lab says about itself, and what its state file holds."""

    pid: int
    started: str  # the process' start time as the kernel counts it
    directory: str
    control_url: str
    kubeconfig: str
    prometheus_url: str
    gateway_url: str
    vantage: dict[str, dict[str, str]]  # where requests can be sent from: name -> port in the mesh -> address here
    controller_url: str = ""  # where canaryd's controller is in it
    plan: str = ""  # the file of a plan for that

    def alive(self) -> bool:
        """Whether that very process still runs."""
        return start_time(self.pid) == self.started


def state_file() -> Path:
    """`$XDG_STATE_HOME/canaryd/lab.json`, by default under `~/.local/state`."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "canaryd" / "lab.json"


def up(
    directory: Path | None = None,
    *,
    detach: bool = False,
    state: Path | None = None,
    announce: Callable[[State], None] | None = None,
    **options: Any,
) -> State:
    """
    Bring a lab up; `options` are those of `Lab`.

    `scene` is handed on as `dataclasses.asdict` writes it, for a lab of its own process is given JSON.

    In the foreground it blocks until SIGINT, SIGTERM or `down`, and calls `announce` when the lab is ready. With
    `detach` it returns when the lab, a process of its own, is ready. `directory` is by default a fresh one, removed at
    the end. Raises Conflict when a lab runs already, Rejected and Unavailable as `Lab.up` does.
    """
    place = state or state_file()
    sweep()
    found = read_state(place)
    if found is not None and found.alive():
        raise Conflict(f"a lab runs already (pid {found.pid}); stop it with `canaryd lab down`")
    place.parent.mkdir(parents=True, exist_ok=True)
    if detach:
        return _detach(directory, place, options)
    return _run(directory, place, announce or (lambda _: None), options)


def down(state: Path | None = None, deadline: float = 10.0) -> bool:
    """Stop the lab that the state file names: True when there was one. Raises Unavailable when it does not end."""
    place = state or state_file()
    sweep()
    found = read_state(place)
    if found is None or not found.alive():
        place.unlink(missing_ok=True)
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(found.pid, signal.SIGTERM)
    end = time.monotonic() + deadline
    while found.alive():
        if time.monotonic() > end:
            raise Unavailable(f"the lab (pid {found.pid}) did not end within {deadline:g} s")
        time.sleep(0.05)
    place.unlink(missing_ok=True)
    return True


def status(state: Path | None = None) -> Json | None:
    """What the running lab says of itself, None where none runs. Raises Unavailable when it does not answer."""
    found = read_state(state or state_file())
    return control(found, "/status") if found is not None and found.alive() else None


def control(lab: State, path: str, body: Json | None = None) -> Json:
    """Ask a running lab: GET without a body, POST with one. Raises Rejected with its words, Unavailable."""
    url = urlsplit(lab.control_url)
    address = (url.hostname or "127.0.0.1", url.port or 0)
    sent = None if body is None else json.dumps(body).encode()
    code, text = exchange(address, path, method="GET" if body is None else "POST", body=sent, deadline=15)
    answer: Json = json.loads(text)
    if code != 200:
        raise (Unavailable if code == 503 else Rejected)(answer["error"])
    return answer


def read_state(place: Path) -> State | None:
    """The state file's content; None where there is none, or none that can be read."""
    try:
        return State(**json.loads(place.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def start_time(pid: int) -> str:
    """When the kernel started a process (clock ticks since boot); empty when there is no such process, or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def sweep() -> list[Path]:
    """Remove the directories of labs that were killed, and say which they were."""
    gone = []
    for each in Path(tempfile.gettempdir()).glob(f"{OWN}*"):
        pid, _, rest = each.name.removeprefix(OWN).partition("-")
        started = rest.partition("-")[0]
        with contextlib.suppress(OSError):
            if pid.isdigit() and started.isdigit() and start_time(int(pid)) != started and _is_mine(each):
                shutil.rmtree(each, ignore_errors=True)
                gone.append(each)
    return gone


def _is_mine(each: Path) -> bool:
    about = each.lstat()
    return stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid()


def _run(directory: Path | None, place: Path, announce: Callable[[State], None], options: Json) -> State:
    pid = os.getpid()  # in the name from the first moment: whoever finds it knows whether its lab lives
    own = None if directory else Path(tempfile.mkdtemp(prefix=f"{OWN}{pid}-{start_time(pid)}-"))
    stop = threading.Event()
    former = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with Lab.up(directory or own or Path(), **_read(options)) as lab, _serving(lab, stop) as control_url:
            state = _state_of(lab, control_url)
            _write(place, state)
            announce(state)
            stop.wait()
            return state
    finally:
        if own is not None:
            shutil.rmtree(own, ignore_errors=True)
        mine = read_state(place)
        if mine is not None and mine.pid == os.getpid():
            place.unlink(missing_ok=True)
        for number, handler in former.items():
            signal.signal(number, handler)


def _read(options: Json) -> Json:
    return {**options, "scene": Scene.read(options["scene"])} if options.get("scene") else options


def _detach(directory: Path | None, place: Path, options: Json) -> State:
    find_or_fetch()  # here, where a download may take its time and an error is seen at once
    log = place.with_suffix(".log")
    arguments = {"directory": str(directory) if directory else None, "state": str(place), "options": options}
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "canaryd.lab.supervisor", json.dumps(arguments)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # it outlives the terminal
        )
    end = time.monotonic() + START_DEADLINE
    while True:
        state = read_state(place)
        if state is not None and state.pid == child.pid:
            return state
        if child.poll() is not None:
            words = log.read_text(errors="replace").strip().splitlines()
            raise Unavailable(f"the lab did not start: {words[-1] if words else 'it said nothing'} (see {log})")
        if time.monotonic() > end:
            child.terminate()
            raise Unavailable(f"the lab was not ready after {START_DEADLINE:g} s (see {log})")
        time.sleep(0.05)


def _state_of(lab: Lab, control_url: str) -> State:
    pid = os.getpid()
    return State(
        pid=pid,
        started=start_time(pid),
        directory=str(lab.directory),
        control_url=control_url,
        kubeconfig=str(lab.kubeconfig),
        prometheus_url=lab.prometheus_url,
        gateway_url=lab.gateway_url,
        vantage=glance.vantage(lab),
        controller_url=lab.controller.url if lab.controller else "",
        plan=str(lab.plan_file) if lab.controller else "",
    )


def _write(place: Path, state: State) -> None:
    temporary = place.with_suffix(".tmp")
    temporary.write_text(json.dumps(dataclasses.asdict(state), indent=1))
    temporary.rename(place)


@contextlib.contextmanager
def _serving(lab: Lab, stop: threading.Event) -> Any:
    """The control server, in a thread; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(QUESTIONS, {})

        def do_POST(self) -> None:
            if self.path == "/down":
                self._send(200, {"stopping": True})
                stop.set()
                return
            length = int(self.headers.get("content-length") or 0)
            try:
                body = json.loads(self.rfile.read(length) or b"{}")
            except ValueError:
                self._send(400, {"error": "the body is not JSON"})
                return
            self._answer(ORDERS, body)

        def _answer(self, routes: dict[str, Callable[[Lab, Json], Json]], body: Json) -> None:
            act = routes.get(self.path)
            if act is None:
                self._send(404, {"error": f"{self.command} {self.path}: there are {', '.join(sorted(routes))}"})
                return
            try:
                self._send(200, act(lab, body))
            except Unavailable as error:
                self._send(503, {"error": str(error)})
            except CanarydError as error:
                self._send(400, {"error": str(error)})
            except (KeyError, TypeError, ValueError) as error:
                self._send(400, {"error": f"{self.path}: {error!r} in {json.dumps(body)}"})

        def _send(self, code: int, answer: Json) -> None:
            content = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing: a client's requests are its own business."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="lab-control", daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


# What the control server answers


def _status(lab: Lab, _: Json) -> Json:
    return {"pid": os.getpid(), **glance.everything(lab)}


def _counts(lab: Lab, _: Json) -> Json:
    return lab.counts().as_json()


def _books(lab: Lab, _: Json) -> Json:
    return glance.books(lab)


def _seconds(lab: Lab, _: Json) -> Json:
    return {"seconds": lab.load.seconds(3600)}


def _faults(lab: Lab, body: Json) -> Json:
    """`{"version": "v3", "error_rate": 0.02, ...}`, with `"pod"` for one; with `{"reset": true}` all are healthy."""
    if body.get("reset"):
        lab.faults.reset()
        return {}
    changes = {key: value for key, value in body.items() if key != "version"}
    return dataclasses.asdict(lab.faults.set(body["version"], **changes))


def _drain(lab: Lab, body: Json) -> Json:
    """`{"version": "v3"}`"""
    return {"pods": lab.drain(body["version"])}


def _restore(lab: Lab, body: Json) -> Json:
    """`{"version": "v3"}`"""
    return {"pods": lab.restore(body["version"])}


def _image(lab: Lab, body: Json) -> Json:
    """`{"version": "v3", "image": "reviews-v3:2"}`"""
    return {"podTemplateHash": lab.roll_out(body["version"], body["image"])}


def _weights(lab: Lab, body: Json) -> Json:
    """`{"v1": 50, "v3": 50}`: write the VirtualService anew."""
    lab.set_weights({version: int(weight) for version, weight in body.items()})
    return lab.weights()


def _rate(lab: Lab, body: Json) -> Json:
    """`{"rps": 300}`"""
    lab.load.set_rate(float(body["rps"]))
    return {"rps": lab.load.rps}


def _protocol(lab: Lab, body: Json) -> Json:
    """`{"protocol": "grpc"}`"""
    if body["protocol"] not in (HTTP, GRPC):
        raise Rejected(f"protocol: must be {HTTP} or {GRPC}, got {body['protocol']!r}")
    lab.load.set_protocol(body["protocol"])
    return {"protocol": lab.load.protocol}


def _stream(lab: Lab, body: Json) -> Json:
    """
    `{"name": "mobile", "vantage": "other", "rps": 20, "host": "reviews:9080", "path": "/", "headers": {}}` starts one,
    `{"name": "mobile", "rps": 40}` changes the rate of one that is there, `{"name": "mobile", "stop": true}` ends it.
    """
    name = body["name"]
    if body.get("stop"):
        return lab.stop_stream(name).as_json()
    if name in lab.streams and set(body) == {"name", "rps"}:
        lab.streams[name].set_rate(float(body["rps"]))
    else:
        lab.start_stream(name, **{key: value for key, value in body.items() if key != "name"})
    return {"rps": lab.streams[name].rps}


def _lag(lab: Lab, body: Json) -> Json:
    """`{"vantage": "other", "seconds": 30}`"""
    lab.lag(body["vantage"], float(body["seconds"]))
    return {}


def _sidecar(lab: Lab, body: Json) -> Json:
    """`{"vantage": "other", "present": false}`"""
    lab.sidecar(body["vantage"], bool(body["present"]))
    return {}


def _refuse(lab: Lab, body: Json) -> Json:
    """`{"version": "v3", "pod": 0}`: nothing listens there; without a version everybody listens again."""
    if "version" in body:
        return {"pods": lab.refuse(body["version"], pod=body.get("pod"))}
    lab.refuse_nobody()
    return {"pods": []}


def _prometheus(lab: Lab, body: Json) -> Json:
    """`{"running": false}`: an outage; its data and port are kept."""
    (lab.prometheus.start if body["running"] else lab.prometheus.stop)()
    return {"running": lab.prometheus.running}


def _api(lab: Lab, body: Json) -> Json:
    """`{"running": false}`: an outage; objects and port are kept."""
    (lab.start_api if body["running"] else lab.stop_api)()
    return {"running": lab.api_running}


def _controller(lab: Lab, body: Json) -> Json:
    """`{"running": false}` stops canaryd's controller, `true` starts it; `{"kill": true}` kills it: it comes back."""
    if lab.controller is None:
        raise Rejected("there is no controller in this lab; bring it up with: canaryd lab up --controller")
    if body.get("kill"):
        lab.controller.kill()
    else:
        (lab.controller.start if body["running"] else lab.controller.stop)()
    return {"controller": lab.controller.standing}


QUESTIONS: dict[str, Callable[[Lab, Json], Json]] = {
    "/status": _status,
    "/counts": _counts,
    "/books": _books,
    "/seconds": _seconds,
}
ORDERS: dict[str, Callable[[Lab, Json], Json]] = {
    "/faults": _faults,
    "/drain": _drain,
    "/restore": _restore,
    "/image": _image,
    "/weights": _weights,
    "/rate": _rate,
    "/protocol": _protocol,
    "/stream": _stream,
    "/lag": _lag,
    "/sidecar": _sidecar,
    "/refuse": _refuse,
    "/prometheus": _prometheus,
    "/api": _api,
    "/controller": _controller,
}


def _main(argument: str) -> int:
    """The detached process: a lab in the foreground of its own session."""
    given = json.loads(argument)
    directory = Path(given["directory"]) if given["directory"] else None
    try:
        up(directory, state=Path(given["state"]), **given["options"])
    except CanarydError as error:
        sys.stderr.write(f"{error}\n".replace("\n", " ") + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1]))
