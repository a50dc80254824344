"""
The queries of one cell: requests, durations, and whether both were scraped when the cell says so.

They ask for *exact deltas* between the cell's two ends, never for ``increase()``: that counts 0 for a series that is
born inside the cell, and a canary's first errors are such a series. Evaluated at the cell's end, over its length ``W``,
with ``L = last_over_time(x[1h] offset W)``, a range selector that skips stale markers::

    ((x - L) >= 0) or (x < 0.5 * L) or (x unless L)
     existing       reset: new value   newborn: full value

A scrape of one target that failed is caught up by the next cell, a decrease by little (two replicas that disagree) is
dropped. One cell follows another exactly, because each ends on the millisecond at which the next begins.

The verdict rests on one reporter alone, by default ``reporter="source"``: what callers got, one count per request, both
versions from the same scrape. In ambient mode the waypoint carries the weights out and counts for its callers, with the
same labels (istio/proxy, istio_stats.cc, populatePeerInfo, ``Reporter::ServerGateway``). What the pods count themselves
(``reporter="destination"``: each attempt, whoever called) only tells how much they differ. The versions are told apart
by workload and namespace; ``destination_version`` is ``unknown`` whenever no connection came about. (Istio: "Istio
Standard Metrics"; extensions/stats in istio/proxy for what is ``unknown`` when.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from canaryd.model.cells import Sought, Window
from canaryd.model.variables import pattern as pattern
from canaryd.model.variables import text as text
from canaryd.model.where import Where

REQUESTS = "istio_requests_total"
BUCKETS = "istio_request_duration_milliseconds_bucket"
LOOKBACK = "1h"
"""How long a series may have been away and still be known; longer counts as newborn."""

KIND = "canaryd"
"""The label that names the rows of :func:`scrapes`, and one of :func:`pods`."""
UNINJECTED = "uninjected"

OUTCOME = (
    "destination_workload",
    "destination_workload_namespace",
    "response_code",
    "response_flags",
    "grpc_response_status",
    "request_protocol",
)
CALL = ("destination_service", "source_workload", "source_workload_namespace")
POD = ("pod", "instance")
"""Whom Prometheus scraped: Istio itself names no pod in its metrics."""


@dataclass(frozen=True, slots=True)
class Queries:
    """The queries of one cell and the moment at which all of them are evaluated, in Unix seconds to the millisecond."""

    requests: str
    durations: str
    scrapes: str
    pods: str
    at: str
    counted: str = ""
    apart: tuple[str, ...] = ()
    """One for each of ``Sought.apart``, empty where it counts the same requests as all do."""


def queries(sought: Sought, window: Window) -> Queries:
    """What to ask Prometheus for the counts of ``sought`` in ``window``."""
    end = round(window.end * 1000)
    length = end - round(window.start * 1000)
    return Queries(
        requests=requests(sought, length),
        durations=durations(sought, length),
        scrapes=scrapes(sought, length),
        pods=pods(sought, length),
        at=f"{end // 1000}.{end % 1000:03d}",
        counted=counted(sought, sought.where, length) if sought.where else "",
        apart=tuple(counted(sought, one.where, length) if one.where != sought.where else "" for one in sought.apart),
    )


def requests(sought: Sought, milliseconds: int) -> str:
    """
    Requests to the hosts by outcome and client, in the ``milliseconds`` before the evaluation.

    The second selector finds calls for which no cluster existed (NC, on Envoy before 1.18 NR): a sidecar then reports
    the raw Host header as the service, a gateway ``unknown``. Which of them are ours is for ``parse`` to say.
    """
    return sum_of_deltas((of_hosts(sought), _without_cluster(sought)), OUTCOME + CALL, milliseconds)


def counted(sought: Sought, where: Where, milliseconds: int) -> str:
    """Requests of both sides that have the labels ``where``, by outcome."""
    return sum_of_deltas((of_sides(sought, where),), OUTCOME, milliseconds)


def durations(sought: Sought, milliseconds: int) -> str:
    """Requests of both sides by outcome and cumulative duration bucket ``le``, in milliseconds."""
    return sum_of_deltas((_durations_of_sides(sought),), ("le", *OUTCOME), milliseconds)


def scrapes(sought: Sought, milliseconds: int) -> str:
    """
    What tells whether the deltas span the cell, as rows named by the label ``canaryd``.

    ``end`` and ``start``: the newest sample of the hosts' series at either end, in Unix seconds. ``known``: how many
    series there were before the start. ``late``: requests counted by series that had no sample at the start though they
    had one before, so that they span more than the cell. ``target``: the newest good scrape, at the start, of a target
    that reports the hosts now: proof that series which were not there were not there. ``mixed``: present when not every
    client has the same histogram buckets.
    """
    return facts(of_hosts(sought), _durations_of_sides(sought), milliseconds)


def pods(sought: Sought, milliseconds: int) -> str:
    """
    Requests that reached the pods of both sides, by pod and outcome, as the pods' own sidecars count them.

    A row with the label ``canaryd`` says how many of all these came from callers without a sidecar: nobody else counts
    them.
    """
    return at_the_pods(_at_the_pods(sought), _uninjected(sought), milliseconds)


def selectors(sought: Sought) -> tuple[str, str, str, str, str]:
    """
    The selectors in the queries: what reached the hosts, what may have been meant for them, the sides' durations, what
    reached the pods, and what did so from callers without a sidecar.
    """
    hosts, strays = of_hosts(sought), _without_cluster(sought)
    return hosts, strays, _durations_of_sides(sought), _at_the_pods(sought), _uninjected(sought)


def sum_of_deltas(selectors: Iterable[str], by: tuple[str, ...], milliseconds: int) -> str:
    """The exact deltas of all series of ``selectors``, added up by the labels ``by``."""
    return f"sum by ({', '.join(by)}) ({' or '.join(delta(selector, milliseconds) for selector in selectors)})"


def facts(hosts: str, durations: str, milliseconds: int) -> str:
    """The rows of :func:`scrapes`, given the selectors of the hosts' requests and of both sides' durations."""
    then = f"{hosts} offset {milliseconds}ms"
    known = _last(hosts, milliseconds)
    up = f"up offset {milliseconds}ms"
    per_bound = f"count by (le) ({durations})"
    rows = {
        "end": f"max(timestamp({hosts}))",
        "start": f"max(timestamp({then}))",
        "known": f"count({known})",
        "late": f"sum(((({hosts} - {known}) >= 0) or ({hosts} < 0.5 * {known})) unless {then})",
        "target": f"max(timestamp({up}) and on (job, instance) ({up} == 1) and on (job, instance) {hosts})",
        "mixed": f"max({per_bound}) != min({per_bound})",
    }
    return " or ".join(f'label_replace({row}, "{KIND}", "{kind}", "", "")' for kind, row in rows.items())


def at_the_pods(all_: str, uninjected: str, milliseconds: int) -> str:
    """The rows of :func:`pods`, given the selectors of everything there and of what callers without a sidecar sent."""
    without = f'label_replace(sum({delta(uninjected, milliseconds)}), "{KIND}", "{UNINJECTED}", "", "")'
    return f"{sum_of_deltas((all_,), (*POD, *OUTCOME), milliseconds)} or {without}"


def delta(selector: str, milliseconds: int) -> str:
    """The exact delta of each series of ``selector`` (of one metric name) over the ``milliseconds`` before now."""
    before = _last(selector, milliseconds)
    return f"((({selector} - {before}) >= 0) or ({selector} < 0.5 * {before}) or ({selector} unless {before}))"


def reporters(sought: Sought, milliseconds: int) -> str:
    """Requests to the hosts by who reports them, of those that carry weights out."""
    series = f'{REQUESTS}{{reporter=~"source|waypoint",destination_service=~{_any_of(sought.hosts)}}}'
    return sum_of_deltas((series,), ("reporter",), milliseconds)


def convergence() -> str:
    """Seconds within which istiod brought 99 % of late changes to a proxy (its own pilot_proxy_convergence_time)."""
    return "histogram_quantile(0.99, sum by (le) (rate(pilot_proxy_convergence_time_bucket[5m])))"


def of_hosts(sought: Sought) -> str:
    """The selector of everything that clients report about the hosts."""
    return f'{REQUESTS}{{reporter="{sought.reporter}",destination_service=~{_any_of(sought.hosts)}}}'


def of_sides(sought: Sought, where: Where) -> str:
    """The selector of what clients report about both sides, of requests with the labels ``where``."""
    return (
        f'{REQUESTS}{{reporter="{sought.reporter}",destination_service=~{_any_of(sought.hosts)},{_sides(sought)}'
        f"{matching(where)}}}"
    )


def matching(where: Where) -> str:
    """Further matchers of a selector, each with a comma before it. What people wrote is text, never PromQL."""
    return "".join(
        f",{label}={text(values[0])}" if len(values) == 1 else f",{label}=~{_any_of(values)}" for label, values in where
    )


def _durations_of_sides(sought: Sought) -> str:
    return (
        f'{BUCKETS}{{reporter="{sought.reporter}",destination_service=~{_any_of(sought.hosts)},{_sides(sought)}'
        f"{matching(sought.where)}}}"
    )


def _at_the_pods(sought: Sought) -> str:
    # Not by service: at the pod it is the first one of several that the pod may be in.
    return f'{REQUESTS}{{reporter="destination",{_sides(sought)}{matching(sought.where)}}}'


def _uninjected(sought: Sought) -> str:
    # Who does not say who it is has no sidecar to say so (Istio: "unknown", as of any peer without metadata).
    return f'{REQUESTS}{{reporter="destination",source_workload="unknown",{_sides(sought)}}}'


def _sides(sought: Sought) -> str:
    workloads = _any_of((*sought.stable, *sought.canary))
    return f"destination_workload=~{workloads},destination_workload_namespace={text(sought.namespace)}"


def _without_cluster(sought: Sought) -> str:
    names = "|".join(sorted({f"{_header_pattern(host)}(:[0-9]+)?" for host in _meant(sought)}))
    # Before Istio 1.24.3 a waypoint left empty what it did not know (istio/istio#54668, istio/proxy#6068).
    nobody = '="unknown"' if sought.reporter == "source" else '=~"unknown|"'
    return (
        f'{REQUESTS}{{reporter="{sought.reporter}",destination_workload{nobody},'
        f"destination_service=~{text(names + '|unknown')},"
        f'response_code=~"5..",response_flags=~"(.*,)?(NC|NR)(,.*)?"}}'
    )


def meant(header: str, sought: Sought, namespace: str) -> bool:
    """Whether a client in ``namespace`` that sent ``header`` as Host meant one of the versions, or what leads there."""
    return any(names_host(header, host, namespace) for host in _meant(sought))


def _meant(sought: Sought) -> tuple[str, ...]:
    return (*sought.hosts, *filter(None, (sought.called,)))


def names_host(header: str, host: str, namespace: str) -> bool:
    """
    Whether a client in ``namespace`` that sent ``header`` as Host meant ``host``.

    A bare service name means the service in the client's own namespace; with a namespace behind it, it means the same
    everywhere. A port is ignored.
    """
    name = re.sub(r":\d+$", "", header)
    parts = _service_of(host)
    if parts is None or name == host:
        return name == host
    service, its_namespace = parts
    return name in (f"{service}.{its_namespace}", f"{service}.{its_namespace}.svc") or (
        name == service and namespace == its_namespace
    )


def _header_pattern(host: str) -> str:
    """A regex of the ways in which clients write ``host`` (Kubernetes: DNS search domains of a pod)."""
    parts = _service_of(host)
    if parts is None:
        return pattern(host)
    service, namespace = (pattern(part) for part in parts)
    domain = pattern(host.split(".svc", 1)[1])
    return rf"{service}(\.{namespace}(\.svc({domain})?)?)?"


def _service_of(host: str) -> tuple[str, str] | None:
    """Service and namespace of a Kubernetes service's full name; None for other hosts."""
    match = re.fullmatch(r"([^.]+)\.([^.]+)\.svc(\..+)?", host)
    return (match[1], match[2]) if match else None


def _last(selector: str, milliseconds: int) -> str:
    return f"last_over_time({selector}[{LOOKBACK}] offset {milliseconds}ms)"


def _any_of(names: tuple[str, ...]) -> str:
    return text("|".join(pattern(name) for name in names))
