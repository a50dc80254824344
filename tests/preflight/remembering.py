"""
A real Prometheus that remembers what it is told of the last hour, as if it had scraped it.

It scrapes nothing: `promtool` writes blocks of what a test says. So a question about an hour is asked of an hour.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from canaryd.errors import Rejected
from canaryd.lab.processes import Child, free_port
from canaryd.lab.prometheus import find_or_fetch
from canaryd.metrics.promql import text

Curve = Callable[[float], float]
"""A counter's value, given the seconds until now."""


def growing(rate: float, *, since: float = 5400, until: float = 0) -> Curve:
    """A counter that grows by ``rate`` a second, from ``since`` seconds ago to ``until`` seconds ago."""
    return lambda ago: rate * max(0.0, since - max(ago, until))


@dataclass
class Remembered:
    """What Prometheus shall know: series, each scraped every ``scrape`` seconds for so long, up to now."""

    now: float = field(default_factory=lambda: round(time.time()))
    lines: dict[str, list[str]] = field(default_factory=dict)

    def series(
        self, name: str, labels: Mapping[str, str], curve: Curve, *, scrape: float = 15, since: float = 5400
    ) -> None:
        """A series that began ``since`` seconds ago."""
        spelled = ",".join(f"{label}={text(value)}" for label, value in labels.items() if value)
        its = self.lines.setdefault(name, [])
        for number in range(int(since / scrape), -1, -1):
            ago = number * scrape
            its.append(f"{name}{{{spelled}}} {curve(ago):.6f} {self.now - ago:.3f}")

    @contextlib.contextmanager
    def prometheus(self, folder: Path, promtool: Path) -> Iterator[str]:
        """Its URL. The test is skipped where there is none to be had."""
        try:
            executable = find_or_fetch()
        except Rejected as error:
            pytest.skip(f"no Prometheus: {error}")
        (folder / "told").write_text(
            "".join(f"# TYPE {name} unknown\n" + "\n".join(its) + "\n" for name, its in self.lines.items()) + "# EOF\n"
        )
        (folder / "prometheus.yml").write_text("global: {}\n")
        blocks = [promtool, "tsdb", "create-blocks-from", "openmetrics", folder / "told", folder / "tsdb"]
        done = subprocess.run(blocks, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        url = f"http://127.0.0.1:{(port := free_port())}"
        argv = [executable, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}"]
        argv += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
        child = Child("prometheus", [str(one) for one in argv], folder / "log", folder)
        try:
            child.wait_until(lambda: _ready(url), 15)
            yield url
        finally:
            child.stop()


def _ready(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/-/ready", timeout=1) as answer:
        return bool(answer.status == 200)
    return False
