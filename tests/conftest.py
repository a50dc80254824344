"""
What all tests share: a real API server, where there is one.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from canaryd.errors import CanarydError
from canaryd.kube import VIRTUAL_SERVICES, Kube, Missing, Unserved
from canaryd.lab import prometheus
from tests.envtest.apiserver import NoServerError, real_server

# Under nohup a hangup is ignored, and whatever is started inherits that; of a handler it inherits nothing.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

# On one worker: the server costs ten seconds of start and 400 MB, and one is enough.
XDIST_GROUP = pytest.mark.xdist_group("real-api-server")
REAL = pytest.param("real", marks=XDIST_GROUP)


@pytest.fixture(autouse=True)
def _logs_as_usual() -> None:
    """What a command set up for its process is not what the next test logs with."""
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def real_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of a real API server with Istio's CRDs; without one the test skips, and says why."""
    try:
        with real_server(tmp_path_factory.mktemp("real-api")) as config:
            yield config
    except NoServerError as none:
        pytest.skip(str(none))


@pytest.fixture(scope="session")
def promtool() -> Path:
    """On PATH, else taken from Debian's package into the lab's cache; without one the test skips, and says why."""
    on_path = shutil.which("promtool")
    if on_path:
        return Path(on_path)
    place = prometheus.cache_directory() / "prometheus" / "promtool"
    if not place.exists():
        try:
            _fetch(place)
        except (CanarydError, OSError) as error:
            pytest.skip(f"no promtool: {error}")
    return place


def _fetch(place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        package = prometheus._download(shutil.which("apt-get") or "apt-get", Path(scratch), place)
        fresh = Path(scratch) / "promtool"
        fresh.write_bytes(prometheus.unpack(package, "./usr/bin/promtool"))
        fresh.chmod(0o755)
        fresh.rename(place)


def with_istio(kube: Kube) -> Kube:
    """The same; where the server behind it has no VirtualServices the test skips, and says why."""
    try:
        kube.get(VIRTUAL_SERVICES, "default", "is-there-istio")
    except Unserved:
        pytest.skip("this API server has no Istio CRDs (networking.istio.io/v1)")
    except Missing:
        pass
    return kube


IN_REAL_TIME = ("tests/controller/", "tests/contracts/test_elector.py", "tests/contracts/test_informer.py")
"""Where processes are killed, stopped and waited for by the clock."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    A test on the lab, or on processes in real time, that fails is run again, twice at most, and the summary says so.

    It depends on how busy the machine is: what fails three times in a row is a defect.
    """
    for item in items:
        if item.get_closest_marker("lab") or item.nodeid.startswith(IN_REAL_TIME):
            item.add_marker(pytest.mark.flaky(reruns=2))
