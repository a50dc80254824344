"""
The contract of the port ``Alerts``, on the fake and on a Prometheus that evaluates real rules.

What it guards: what is not known to be quiet never passes for quiet.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest
import yaml

from canaryd.engine.ports import Alerts
from canaryd.errors import Unavailable
from canaryd.lab.processes import Child, free_port
from canaryd.lab.prometheus import find_or_fetch
from canaryd.metrics.sources import Sources
from canaryd.model.gate import Alert
from canaryd.settings import Settings, Source
from tests.gates.memory import MemoryAlerts
from tests.stage import plan

PLAN = plan()
ODD = 'shop "1" \\ a'
FIRING: list[tuple[str, dict[str, str]]] = [
    ("CheckoutDown", {"namespace": "shop", "severity": "page"}),
    ("CheckoutDown", {"namespace": "bakery", "severity": "page"}),
    ("Odd.Name", {"namespace": ODD}),
    ("OddXName", {}),
]


class World(Protocol):
    @property
    def port(self) -> Alerts: ...

    def down(self) -> contextlib.AbstractContextManager[None]: ...


class Memory:
    def __init__(self) -> None:
        self.port = MemoryAlerts(list(FIRING))

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        self.port.failing = Unavailable("connection refused")
        yield
        self.port.failing = None


class Real:
    """A Prometheus of its own; one alert of its rules never fires, and one is always pending."""

    def __init__(self, folder: Path) -> None:
        rules = [_rule(name, "vector(1)", labels) for name, labels in FIRING]
        rules += [_rule("Quiet", "vector(1) > 2", {}), _rule("Pending", "vector(1)", {}) | {"for": "1h"}]
        (folder / "rules.yml").write_text(
            yaml.safe_dump({"groups": [{"name": "all", "interval": "1s", "rules": rules}]})
        )
        (folder / "prometheus.yml").write_text("rule_files: [rules.yml]\n")
        self.folder, self.at = folder, free_port()
        self.port = Sources(Settings(prometheus=Source(url=f"http://127.0.0.1:{self.at}")))
        self.start()

    def start(self) -> None:
        listen = f"--web.listen-address=127.0.0.1:{self.at}"
        argv = [str(find_or_fetch()), "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", listen]
        self.child = Child("prometheus", argv, self.folder / "log", self.folder)
        end = time.monotonic() + 30
        while True:
            with contextlib.suppress(Unavailable):
                if len(self.port.firing(PLAN, Alert(names=tuple(name for name, _ in FIRING)))) == len(FIRING):
                    return
            assert time.monotonic() < end, self.child.last_words()
            time.sleep(0.2)

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        self.child.stop()
        yield
        self.start()


def _rule(name: str, expression: str, labels: Mapping[str, str]) -> dict[str, object]:
    return {"alert": name, "expr": expression, "labels": dict(labels)}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    world = Real(tmp_path_factory.mktemp("alerts"))
    yield world
    world.child.stop()


@pytest.fixture(params=["memory", "prometheus"])
def world(request: pytest.FixtureRequest) -> World:
    return Memory() if request.param == "memory" else request.getfixturevalue("real")  # type: ignore[no-any-return]


def test_those_that_fire_are_named_with_their_labels(world: World) -> None:
    """What a person has to look for."""
    assert world.port.firing(PLAN, Alert(names=("CheckoutDown", "Quiet"))) == (
        'CheckoutDown{namespace="bakery", severity="page"}',
        'CheckoutDown{namespace="shop", severity="page"}',
    )


def test_labels_narrow_it_down(world: World) -> None:
    """Another team's alert of the same name is none of ours."""
    found = world.port.firing(PLAN, Alert(names=("CheckoutDown",), labels={"namespace": "shop"}))
    assert found == ('CheckoutDown{namespace="shop", severity="page"}',)
    assert world.port.firing(PLAN, Alert(names=("CheckoutDown",), labels={"namespace": "sho"})) == ()


def test_what_does_not_fire_or_not_yet_is_quiet(world: World) -> None:
    """A pending alert may pass by itself: that is what its ``for`` is for."""
    assert world.port.firing(PLAN, Alert(names=("Quiet", "Pending", "Nobody"))) == ()


def test_names_and_labels_are_text_and_no_patterns(world: World) -> None:
    """A point is a point, and a quotation mark ends no string."""
    assert world.port.firing(PLAN, Alert(names=("Odd.Name",), labels={"namespace": ODD}))[0].startswith("Odd.Name{")
    assert world.port.firing(PLAN, Alert(names=('CheckoutDown"} or vector(1) or ALERTS{alertname="x',))) == ()
    assert world.port.firing(PLAN, Alert(names=(".*",))) == ()
    assert world.port.firing(PLAN, Alert(names=("Quiet|CheckoutDown",))) == ()


def test_no_answer_is_not_quiet(world: World) -> None:
    """Raised, so that nobody can take it for an empty list."""
    with world.down(), pytest.raises(Unavailable):
        world.port.firing(PLAN, Alert(names=("Quiet",)))


def test_the_rules_that_there_are_are_known(real: Real) -> None:
    """For preflight: also those that never fired."""
    assert real.port.rules(PLAN) == {name for name, _ in FIRING} | {"Quiet", "Pending"}
