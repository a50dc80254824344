"""
What Prometheus knows of the route before anything moves, asked once for all checks.

What it did not say is empty, and named in ``missed``: a check says nothing of what was not heard.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from canaryd.model.cells import Reporter
from canaryd.model.finding import Finding
from canaryd.model.where import Where

LATELY = 3600.0
"""Seconds back in which requests count as of now."""
UNKNOWN = "unknown"
"""Istio's word for a peer that it knows nothing of."""
AT_THE_PODS = "what reaches the pods"
DURATIONS = "durations"
"""What may be missed and must not be taken for nothing, as ``missed`` names it."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who has sent requests to the hosts lately, as its own proxy reports it, and how many a second."""

    workload: str
    namespace: str
    rate: float = 0.0

    def __str__(self) -> str:
        return f"{self.workload}.{self.namespace}"


@dataclass(frozen=True, slots=True)
class Served:
    """A workload that the hosts' requests went to in the last minutes: how many a second, and what share failed."""

    workload: str
    namespace: str
    rate: float
    failing: float = 0.0


@dataclass(frozen=True, slots=True)
class Counted:
    """
    What the labels ``where`` of a plan leave: of ``all_`` requests a second so many are ``counted``.

    ``without`` are the callers none of whose requests have these labels.
    """

    where: Where
    all_: float
    counted: float
    without: tuple[Caller, ...] = ()


@dataclass(frozen=True, slots=True)
class Histogram:
    """
    The finite bucket bounds, in milliseconds, of the durations that a caller's proxies keep.

    ``mixed`` is true where not all of its proxies have all of them.
    """

    caller: Caller
    bounds_ms: tuple[float, ...]
    mixed: bool = False


@dataclass(frozen=True, slots=True)
class Istiod:
    """
    What istiod says of itself, where Prometheus scrapes it.

    ``rejects``: how often proxies refused what they were sent in the last ten minutes, by the kind of configuration.
    ``convergence``: seconds within which 99 % of the proxies had a change, None where nothing was sent. ``versions``:
    how many proxies run which version of Istio.
    """

    rejects: tuple[tuple[str, float], ...] = ()
    convergence: float | None = None
    versions: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """
    What a check's query finds of a side (``canary``, ``stable``) now.

    ``rows`` values, the first of them ``value``, which differ by ``labels``. ``refused`` says why it cannot be asked.
    For a query that finds nothing: ``unknown`` are the metrics that nobody reports, ``missing`` (metric, label) that no
    series has, each with the names that are like it.
    """

    check: str
    side: str
    rows: int = 0
    value: float | None = None
    labels: tuple[str, ...] = ()
    refused: str = ""
    unknown: tuple[tuple[str, tuple[str, ...]], ...] = ()
    missing: tuple[tuple[str, str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Heard:
    """
    ``callers`` are those of the last hour. ``silent`` says why nothing is known at all; empty where something is.
    ``served`` are the workloads behind the hosts, ``labels`` what their series are told apart by, and ``protocols`` how
    they are called, each as the callers report it. ``pods``: requests a second that reached the pods, as their own
    proxies count them, None where those count nothing, and ``uninjected`` those among them whose caller has no sidecar.
    ``histograms`` are the callers' bucket bounds; ``native`` is true where durations are kept as native histograms
    alone. ``reporters`` are those that count requests to the hosts at all: ``source``, ``destination``, ``waypoint``;
    ``reporter`` is the one whose counts are read, ``rates`` what the first and the last of them counted a second.
    ``interval``: seconds from scrape to scrape of the callers, 0 where that could not be learned. ``clusters`` are the
    clusters whose series there are, where there are several; ``scrapers`` by how many ways the same pod is scraped at
    most, 0 where that is not known. ``counted`` says what each ``where`` of the plan leaves. ``trials`` are the checks'
    own queries, tried, where the pods of both versions are known. ``probed`` is what makes this Prometheus useless for
    the plan; ``missed`` what it did not answer, each with the reason. ``rules`` are the names of the alerts that it has
    rules for, None where nobody asked or it did not say.
    """

    callers: tuple[Caller, ...] = ()
    silent: str = ""
    served: tuple[Served, ...] = ()
    labels: frozenset[str] = frozenset()
    protocols: frozenset[str] = frozenset()
    pods: float | None = None
    uninjected: float = 0.0
    histograms: tuple[Histogram, ...] = ()
    native: bool = False
    reporters: frozenset[str] = frozenset()
    reporter: Reporter = "source"
    rates: tuple[tuple[str, float], ...] = ()
    interval: float = 0.0
    clusters: tuple[str, ...] = ()
    scrapers: int = 0
    istiod: Istiod = Istiod()
    counted: tuple[Counted, ...] = ()
    trials: tuple[Trial, ...] = ()
    probed: tuple[Finding, ...] = ()
    rules: frozenset[str] | None = None
    missed: tuple[tuple[str, str], ...] = ()

    def of(self, workloads: Iterable[str] = ()) -> Served:
        """All that reached ``workloads`` together, or, where none is named, every one that is known by name."""
        wanted = set(workloads)
        ours = [one for one in self.served if (one.workload in wanted if wanted else one.workload != UNKNOWN)]
        rate = sum(one.rate for one in ours)
        failing = sum(one.rate * one.failing for one in ours)
        return Served("", "", rate, failing / rate if rate else 0.0)


NOTHING_HEARD = Heard(silent="Prometheus was not asked")
