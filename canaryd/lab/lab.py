"""
One object that is a small mesh: cluster, API server, control plane, Envoy, Prometheus and traffic.

Several may run side by side: every port is the kernel's choice. canaryd meets a lab only through `kubeconfig` and
`prometheus_url`; everything else here is the hand of the experimenter (drain pods, turn faults, take Prometheus away).
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from canaryd.errors import Conflict, Rejected, Unavailable
from canaryd.lab import bookinfo
from canaryd.lab.controller import Controller, install
from canaryd.lab.envoy.certificates import Authority
from canaryd.lab.envoy.process import Envoy
from canaryd.lab.envoy.tracing import Tracing
from canaryd.lab.faults import Faults
from canaryd.lab.istiod.control import ControlPlane
from canaryd.lab.istiod.objects import is_ready, labels_of, namespace_of
from canaryd.lab.kubernetes.cluster import Cluster
from canaryd.lab.kubernetes.server import ApiServer
from canaryd.lab.kubernetes.server import kubeconfig as write_kubeconfig
from canaryd.lab.load import HTTP, UNKNOWN, Counts, Load
from canaryd.lab.prometheus import Prometheus
from canaryd.lab.scene import CLIENT, INGRESS, Scene
from canaryd.lab.workloads import Controller as Workloads
from canaryd.lab.workloads import set_ready, template_hash
from canaryd.mesh.weights import MARKER

Json = dict[str, Any]
USUAL_PORTS = (bookinfo.PORT, 8080, 80)
USUAL_PLAN = Path(__file__).parent / "reviews.yaml"
TRIAL = "trial"  # the stream of requests to the service on trial
PAGES = "bookinfo.lab"  # the host whose pages people look at


@dataclass(frozen=True, slots=True)
class Vantage:
    """
    A place from which requests are sent: its ports as clients name them, and where each is on this machine.

    `streams` are those where whole connections are passed on, by `<host>:<port>`, at a gateway `:<port>`.
    """

    name: str
    ports: dict[int, tuple[str, int]]
    streams: dict[str, tuple[str, int]] = field(default_factory=dict)

    def address(self, port: int | None = None) -> tuple[str, int]:
        """Host and port on this machine of a port of the mesh; by default a usual one, else the lowest."""
        usual = next((each for each in USUAL_PORTS if each in self.ports), min(self.ports, default=0))
        wanted = port or usual
        if wanted not in self.ports:
            raise Rejected(f"{self.name} has no port {wanted}; it has {', '.join(map(str, self.ports)) or 'none'}")
        return self.ports[wanted]


class Lab:
    """
    A running lab. Use `with Lab.up(directory) as lab:`.

    `kubeconfig` (a file), `prometheus_url` and `gateway_url` (send `Host: reviews:9080`) are strings and paths for
    canaryd; `cluster`, `envoy`, `prometheus`, `faults` and `load` are the parts themselves. `vantage` has the places
    from which requests can be sent: `client` (productpage's sidecar), `other` (a second client, `curl`) and `ingress`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        scene: Scene | None = None,
        rps: float = 300,
        seed: int = 0,
        weights: dict[str, int] | None = None,
        replicas: int = bookinfo.REPLICAS,
        protocol: str = HTTP,
        poisson: bool = True,
        scrape_interval: float = 1.0,
        mtls: bool = True,
        page_views: float = 0,
        traces: str | None = None,
        trace_sampling: float = 100.0,
        controller: bool = False,
        plan: str = "",
    ) -> None:
        """
        `scene` is what is there and who is on trial; by default Bookinfo's reviews with `weights` and `replicas`.
        `rps`, `seed`, `protocol` and `poisson` are of the traffic to the service on trial; reviews are asked for
        themselves and call nobody. `page_views` is how many people a second look at Bookinfo's `/productpage` through
        `ingress`: each keeps the whole graph busy. With `mtls` the lab's proxies have certificates,
        and the namespace asks for them (STRICT). `traces` is a collector's URL (see envoy/tracing.py), to which
        `trace_sampling` percent of the requests are told. With `controller` canaryd's own controller runs in it, and
        `plan`, by default the usual one for reviews, is written to `plan_file`, for somebody to apply.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory.resolve()
        self.kubeconfig = self.directory / "kubeconfig"
        self.cluster = Cluster()
        self._tracing = Tracing(traces, trace_sampling) if traces else None
        self.envoy = Envoy(self.directory / "envoy", clusters=self._tracing.clusters() if self._tracing else ())
        self.scene = scene or bookinfo.scene(weights=weights, replicas=replicas, grpc=protocol != HTTP)
        self.faults = Faults(self.envoy, self.scene.versions, self._version_of)
        self.workloads = Workloads(self.cluster)
        authority = Authority(self.directory / "certificates") if mtls else None
        self.control_plane = ControlPlane(
            self.cluster,
            self.envoy,
            authority,
            vantage=self.scene.vantage,
            version_of=self._version_of,
            cover=self.faults.cover,
            tracing=self._tracing.of if self._tracing else lambda *_: None,
        )
        self._scrape_interval = scrape_interval
        self._load: Json = {"rps": rps, "seed": seed, "protocol": protocol, "poisson": poisson}
        self._page_views = page_views
        self._with_controller = controller
        self._plan = plan or ("" if scene else USUAL_PLAN.read_text(encoding="utf-8"))
        self.controller: Controller | None = None
        self.streams: dict[str, Load] = {}
        self.api: ApiServer | None = None  # None while it is away
        self._api_port = 0
        self._parts: contextlib.ExitStack = contextlib.ExitStack()
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._refusing: set[str] = set()
        self.prometheus: Prometheus
        self.load: Load

    @classmethod
    @contextlib.contextmanager
    def up(cls, directory: Path, *, until_measured: bool = True, **options: Any) -> Iterator[Lab]:
        """
        A lab for the length of a `with` block; see `__init__` for the options.

        With `until_measured` it is handed over when Prometheus has a first rate (about 8 s), else as soon as every
        part answers (about 1 s). A controller leads by then. Raises Rejected where Envoy or Prometheus cannot be had,
        Unavailable when one does not start.
        """
        lab = cls(directory, **options)
        try:
            lab.start()
            if until_measured:
                lab.wait_until_measured()
            if lab.controller is not None:
                lab.controller.wait_until_leading()
            yield lab
        finally:
            lab.stop()

    def start(self) -> None:
        """Bring every part up. On failure the parts that run stay until `stop`."""
        for each in self.scene.objects:
            self.cluster.apply(each)
        self.start_api()
        self._parts.callback(self.stop_api)
        if self._tracing is not None:
            self._parts.callback(self._tracing.stop)
        self.workloads.start()
        self._parts.callback(self.workloads.stop)
        self.faults.reset()
        self.control_plane.start()
        self._parts.callback(self.control_plane.stop)
        self._parts.callback(self.envoy.stop)
        self.envoy.start()
        self.prometheus = Prometheus(self.directory / "prometheus", self.envoy.admin, self._scrape_interval)
        self._parts.callback(self.prometheus.stop)
        self.prometheus.start()
        self._parts.callback(self._stop_streams)
        request = self.scene.request
        self.load = self.start_stream(
            TRIAL,
            vantage=request.vantage,
            port=_port_in(request.host) if request.vantage != INGRESS else None,
            host=request.host,
            path=request.path,
            method=request.method,
            headers=dict(request.headers),
            **self._load,
        )
        if self._page_views:
            self.start_stream(
                "pages",
                vantage=INGRESS,
                host=PAGES,
                path="/productpage",
                service=bookinfo.SERVICE,
                rps=self._page_views,
                seed=self._load["seed"] + 1,
            )
        if self._with_controller:
            self.start_controller()

    def start_controller(self, **settings: str) -> Controller:
        """
        Let canaryd's own controller run in this cluster; `wait_until_leading` tells when it is at work.

        `settings` are further ones of canaryd's, as its environment names them (`CANARYD_MAX_RUNS`).
        """
        install(self.cluster)
        self.plan_file.write_text(self._plan, encoding="utf-8")
        self.controller = Controller(
            self.directory / "controller", self.cluster, self.kubeconfig, self.prometheus.url, settings
        )
        self.prometheus.scrape_canaryd(self.controller.address)
        self._parts.callback(self.controller.stop)
        self.controller.start()
        return self.controller

    def stop_controller(self) -> None:
        """Take the controller away. Its kinds, plans and runs stay, as in a cluster."""
        if self.controller is not None:
            self.controller.stop()
            self.prometheus.scrape_canaryd(None)
            self.controller = None

    def stop(self) -> None:
        """Stop every part, last started first. The directory stays."""
        self._parts.close()

    def wait_until_measured(self, deadline: float = 20.0) -> None:
        """Wait until Prometheus knows a request rate. Raises Unavailable when it does not in time."""
        end = time.monotonic() + deadline
        while not self._is_measured():
            if time.monotonic() > end:
                raise Unavailable(f"Prometheus had no rate of the lab's traffic after {deadline:g} s")
            time.sleep(0.1)

    @property
    def plan_file(self) -> Path:
        """Where a lab with a controller has a plan to begin with."""
        return self.directory / "plan.yaml"

    @property
    def prometheus_url(self) -> str:
        return self.prometheus.url

    @property
    def gateway_url(self) -> str:
        """Where the requests to the service on trial go out."""
        request = self.scene.request
        port = _port_in(request.host) if request.vantage != INGRESS else None
        host, port = self.vantage[request.vantage].address(port)
        return f"http://{host}:{port}"

    @property
    def vantage(self) -> dict[str, Vantage]:
        """Where requests can be sent from, by name, as it is now."""
        places = self.envoy.addresses()
        return {
            name: Vantage(
                name,
                {port: places[at] for port, at in self.control_plane.ports(name).items() if at in places},
                {host: places[at] for host, at in self.control_plane.streams(name).items() if at in places},
            )
            for name in self.scene.vantage
        }

    # What an experimenter does

    def drain(self, version: str) -> int:
        """Make every pod of a version not ready; in force when it returns. How many pods."""
        return self._set_ready(version, ready=False)

    def restore(self, version: str) -> int:
        """Make every pod of a version ready again."""
        return self._set_ready(version, ready=True)

    def roll_out(self, version: str, image: str) -> str:
        """Give a version another image: a new ReplicaSet and new pods. Returns the new pod-template-hash."""
        with self._lock:
            found = self.deployment(version)
            found["spec"]["template"]["spec"]["containers"][0]["image"] = image
            self.cluster.apply(found)
            self.workloads.reconcile()
        self.control_plane.settle()
        return template_hash(found["spec"]["template"])

    def lag(self, vantage: str, seconds: float) -> None:
        """From now on, changes of the configuration reach that client so much later; 0 ends that."""
        self.control_plane.lag(vantage, seconds)

    def sidecar(self, vantage: str, present: bool) -> None:
        """Take a client's sidecar away: its requests go straight to any ready pod, unmeasured, in plain text."""
        self.control_plane.sidecar(vantage, present)

    def refuse(self, version: str, *, pod: str | int | None = None) -> list[str]:
        """Let nothing listen any more at a version's pods, or one of them, though they are ready; their names."""
        pods = self.faults.pods(version)
        chosen = pods if pod is None else [pods[pod] if isinstance(pod, int) else pod]
        with self._lock:
            self._refusing |= set(chosen)
            self.control_plane.refuse(self._refusing)
        return chosen

    def refuse_nobody(self) -> None:
        """Every pod listens again."""
        with self._lock:
            self._refusing = set()
            self.control_plane.refuse(self._refusing)

    def set_weights(self, weights: dict[str, int]) -> None:
        """Write the VirtualService as somebody with kubectl would, marker and all else lost; in force on return."""
        unknown = sorted(weights.keys() - self.scene.destinations.keys())
        if unknown:
            known = ", ".join(self.scene.destinations)
            raise Rejected(f"{unknown[0]}: no such version; there are {known}")
        self.cluster.apply(self.scene.divided(weights))
        self.control_plane.settle()

    def virtual_service(self) -> Json | None:
        """The VirtualService on trial, as it stands."""
        return self.cluster.find("VirtualService", self.scene.namespace, self.scene.virtual_service)

    def deployment(self, version: str) -> Json:
        """A version's Deployment, as it stands. Raises Rejected where there is none."""
        for each in self.cluster.objects("Deployment", self.scene.namespace):
            template = each["spec"]["template"].get("metadata") or {}
            if self.scene.version_of(template.get("labels") or {}, self.scene.namespace) == version:
                return each
        raise Rejected(f"{version}: there is no Deployment of it")

    def weights(self) -> dict[str, int]:
        """The weights that stand in the VirtualService, by version."""
        return self.scene.weights_in(self.virtual_service())

    def run(self) -> str:
        """The run that marks the VirtualService at this moment, empty where none does."""
        marks = ((self.virtual_service() or {}).get("metadata") or {}).get("annotations") or {}
        return next(
            (json.loads(value).get("run", "") for key, value in marks.items() if key.startswith(f"{MARKER}/")), ""
        )

    def pods(self) -> dict[str, tuple[int, int]]:
        """How many pods are ready, and how many there are, by version."""
        found: dict[str, tuple[int, int]] = {}
        for pod in self.cluster.objects("Pod", self.scene.namespace):
            if (version := self._version_of(pod)) is not None:
                ready, of = found.get(version, (0, 0))
                found[version] = (ready + is_ready(pod), of + 1)
        return found

    @property
    def seconds(self) -> float:
        """How long the lab has been up."""
        return time.monotonic() - self._began

    def shares(self, seconds: int = 5) -> dict[str, float]:
        """The share of the last seconds' answers by version, as the client saw them."""
        rows = self.load.seconds(seconds)
        answered = {version: sum(row.get(version, 0) for row in rows) for version in (*self.scene.versions, UNKNOWN)}
        total = sum(answered.values())
        return {version: count / total for version, count in answered.items() if count}

    def counts(self) -> Counts:
        """The books of the traffic to reviews."""
        return self.load.counts()

    def start_stream(self, name: str, *, vantage: str = CLIENT, port: int | None = None, **shape: Any) -> Load:
        """
        Send requests from a vantage point, beside whatever is sent already; `shape` is what `Load` takes.

        Each stream has books of its own, in `streams`. Raises Conflict for a name that is taken, Rejected for a vantage
        point or port that there is not.
        """
        if name in self.streams:
            raise Conflict(f"{name}: there is such a stream already; there are {', '.join(self.streams)}")
        points = self.vantage
        if vantage not in points:
            raise Rejected(f"{vantage}: no such vantage point; there are {', '.join(points)}")
        load = Load(points[vantage].address(port), **shape)
        self.streams[name] = load
        load.start()
        return load

    def stop_stream(self, name: str) -> Counts:
        """Send nothing more, wait for what is in flight, and return the final books."""
        if name not in self.streams:
            raise Rejected(f"{name}: no such stream; there are {', '.join(self.streams)}")
        return self.streams.pop(name).stop()

    def _stop_streams(self) -> None:
        for load in self.streams.values():
            load.stop()

    def start_api(self) -> None:
        """Let the API server listen, on the same port as before if there was one."""
        with self._lock:
            if self.api is not None:
                return
            server = ApiServer(self.cluster, port=self._api_port)
            address = server.start()
            self.api = server
            self._api_port = urlsplit(address).port or 0
            write_kubeconfig(address, self.kubeconfig)

    def stop_api(self) -> None:
        """Take the API server away (an outage). The objects stay."""
        with self._lock:
            if self.api is not None:
                self.api.stop()
                self.api = None

    @property
    def api_running(self) -> bool:
        return self.api is not None

    def _version_of(self, pod: Json) -> str | None:
        return self.scene.version_of(labels_of(pod), namespace_of(pod))

    def _set_ready(self, version: str, *, ready: bool) -> int:
        names = set(self.faults.pods(version))
        with self._lock:
            found = [pod for pod in self.cluster.objects("Pod") if pod["metadata"]["name"] in names]
            pods = set_ready(self.cluster, found, ready=ready)
            self.workloads.reconcile()
        self.control_plane.settle()
        return pods

    def _is_measured(self) -> bool:
        with contextlib.suppress(Unavailable):
            window = f"{max(3, round(self._scrape_interval * 4))}s"
            rows = self.prometheus.query(f'sum(rate(istio_requests_total{{reporter="source"}}[{window}]))')
            return bool(rows) and rows[0][1] > 0
        return False


def _port_in(host: str) -> int | None:
    """The port that a client names after the host."""
    port = host.rpartition(":")[2]
    return int(port) if port.isdigit() else None
