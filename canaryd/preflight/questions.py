"""
What preflight asks Prometheus, and what its answers say. Pure.

Few queries, each added up by Prometheus itself and over an hour at most: they are asked of the busiest services there
are. Several facts share a query where they come from the same series, as rows named by the label ``canaryd``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite, isnan

from canaryd.metrics import promql
from canaryd.metrics.parse import Row
from canaryd.metrics.promql import BUCKETS, CALL, KIND, OUTCOME, REQUESTS
from canaryd.model.failures import Failures
from canaryd.model.where import Where
from canaryd.preflight.heard import LATELY, UNKNOWN, Caller, Counted, Histogram, Istiod, Served

DURATIONS = BUCKETS.removesuffix("_bucket")
SPANS = (round(LATELY), 600, 300, 60, 15)
"""Seconds back to which it is asked whether there were series already: rates are taken over no longer."""
RECENT = 300
"""Seconds over which today's rate is taken, where it is known for so long."""
ENOUGH = 6
"""Samples that tell how far apart they are; fewer only where there are no more."""
FEW = 3
CONTROL = 600
"""Seconds back in which what istiod says counts as of now."""
SCRAPERS = ("job", "instance", "prometheus", "prometheus_replica", "replica")
"""What one scrape of a pod is told from another by."""
CLUSTERS = ("cluster", "source_cluster", "destination_cluster")


def about(
    hosts: Iterable[str], metric: str = REQUESTS, *, reporter: str = "source", only: Mapping[str, str] | None = None
) -> str:
    """The selector of what ``reporter`` (a regex) says of requests to ``hosts``; ``only`` are further regexes."""
    sought = {"reporter": reporter, "destination_service": any_of(hosts), **(only or {})}
    return f"{metric}{{{','.join(f'{label}=~{promql.text(regex)}' for label, regex in sought.items())}}}"


def any_of(names: Iterable[str]) -> str:
    """A regex that matches these names alone."""
    return "|".join(promql.pattern(name) for name in names)


def _named(kind: str, query: str) -> str:
    return f'label_replace({query}, "{KIND}", "{kind}", "", "")'


def samples(hosts: Iterable[str], reporter: str = "source") -> str:
    """How many samples the callers' series have that are as old as each of ``SPANS``: a row for each that has any."""
    series = about(hosts, reporter=reporter)
    return " or ".join(
        _named(str(span), f"max(count_over_time({series}[{span}s]) and {series} offset {span}s)") for span in SPANS
    )


def known_for(found: Sequence[Row]) -> int:
    """The longest of ``SPANS`` for which there are series."""
    return max((int(row.labels[KIND]) for row in found), default=SPANS[-1])


def interval(found: Sequence[Row]) -> float:
    """
    Seconds from scrape to scrape; 0 where there are too few to tell.

    An outage makes fewer samples too, but not in every span.
    """
    spaced = {row.value: int(row.labels[KIND]) / row.value for row in found if row.value >= FEW}
    many = [seconds for count, seconds in spaced.items() if count >= ENOUGH]
    return min(many or spaced.values(), default=0.0)


def outcomes(hosts: Iterable[str], seconds: int, reporter: str = "source") -> str:
    """Requests to the hosts by outcome and call, as the callers report them."""
    return promql.sum_of_deltas((about(hosts, reporter=reporter),), OUTCOME + CALL, seconds * 1000)


def served(found: Sequence[Row], seconds: int, failures_are: Failures) -> tuple[Served, ...]:
    """The workloads that the requests of :func:`outcomes` went to, the busiest first; none of the mesh's own faults."""
    requests: dict[tuple[str, str], float] = defaultdict(float)
    failures: dict[tuple[str, str], float] = defaultdict(float)
    for row in _numbers(found):
        if "FI" in row.labels.get("response_flags", "").split(","):
            continue
        name = row.labels.get("destination_workload", ""), row.labels.get("destination_workload_namespace", "")
        requests[name] += row.value
        failures[name] += row.value if failures_are.among(row.labels) else 0.0
    ordered = sorted(requests, key=lambda name: (-requests[name], name))
    return tuple(
        Served(*name, requests[name] / seconds, failures[name] / requests[name] if requests[name] else 0.0)
        for name in ordered
    )


def labels(found: Sequence[Row]) -> frozenset[str]:
    """The labels that any of the rows has a value for."""
    return frozenset(label for row in found for label, value in row.labels.items() if value)


def protocols(found: Sequence[Row]) -> frozenset[str]:
    """How the hosts are called."""
    return frozenset(row.labels.get("request_protocol", "") for row in found) - {""}


def calls(hosts: Iterable[str], seconds: int, reporter: str = "source") -> str:
    """Requests to the hosts by caller."""
    by = ("source_workload", "source_workload_namespace")
    return promql.sum_of_deltas((about(hosts, reporter=reporter),), by, seconds * 1000)


def callers(found: Sequence[Row], seconds: int) -> tuple[Caller, ...]:
    """Who called, the busiest first."""
    rates = ((*_caller(row), row.value / seconds) for row in _numbers(found))
    ordered = sorted(rates, key=lambda one: (-one[2], one[0], one[1]))
    return tuple(Caller(*one) for one in ordered if one[0] not in ("", UNKNOWN))


def arrivals(hosts: Iterable[str], behind: Sequence[Served], seconds: int) -> str:
    """
    Requests that reached the pods, as their own proxies count them, by caller.

    By workload where one is known: at the pod the service is the first one of several that the pod may be in.
    """
    known = [one for one in behind if one.workload not in ("", UNKNOWN) and one.namespace]
    if not known:
        series = about(hosts, reporter="destination")
    else:
        workloads = any_of(dict.fromkeys(one.workload for one in known))
        homes = any_of(dict.fromkeys(one.namespace for one in known))
        series = (
            f'{REQUESTS}{{reporter="destination",destination_workload=~{promql.text(workloads)},'
            f"destination_workload_namespace=~{promql.text(homes)}}}"
        )
    return promql.sum_of_deltas((series,), ("source_workload",), seconds * 1000)


def arrived(found: Sequence[Row], seconds: int) -> tuple[float | None, float]:
    """Requests a second that reached the pods, None where nobody counts them, and those from callers unknown."""
    if not found:
        return None, 0.0
    strange = [row for row in _numbers(found) if row.labels.get("source_workload", UNKNOWN) == UNKNOWN]
    return sum(row.value for row in _numbers(found)) / seconds, sum(row.value for row in strange) / seconds


def matched(hosts: Iterable[str], wheres: Sequence[Where], seconds: int, reporter: str = "source") -> str:
    """
    For each of ``wheres``, by caller: requests at all, those that have its labels, and those that it counts.

    The rows are named by its place and by what they are (``0 labelled``).
    """
    by = "sum by (source_workload, source_workload_namespace)"

    def rows(name: str, more: str) -> str:
        series = about(hosts, reporter=reporter).removesuffix("}") + more + "}"
        return _named(name, f"{by} ({promql.delta(series, seconds * 1000)})")

    return " or ".join(
        row
        for place, where in enumerate(wheres)
        for row in (
            rows(f"{place} all", ""),
            rows(f"{place} labelled", "".join(f',{label}!=""' for label, _ in where)),
            rows(f"{place} counted", promql.matching(where)),
        )
    )


def counted(found: Sequence[Row], wheres: Sequence[Where], seconds: int) -> tuple[Counted, ...]:
    """What :func:`matched` says of each of ``wheres``."""
    sums: dict[str, dict[tuple[str, str], float]] = defaultdict(lambda: defaultdict(float))
    for row in _numbers(found):
        sums[row.labels.get(KIND, "")][_caller(row)] += row.value
    return tuple(
        Counted(
            where,
            sum(sums[f"{place} all"].values()) / seconds,
            sum(sums[f"{place} counted"].values()) / seconds,
            tuple(
                Caller(*caller, requests / seconds)
                for caller, requests in sorted(sums[f"{place} all"].items(), key=lambda one: (-one[1], one[0]))
                if requests > 0 and not sums[f"{place} labelled"].get(caller)
            ),
        )
        for place, where in enumerate(wheres)
    )


def buckets(hosts: Iterable[str], reporter: str = "source") -> str:
    """The callers' bucket bounds, and whether there are native histograms."""
    bounds = f"count by (le, source_workload, source_workload_namespace) ({about(hosts, BUCKETS, reporter=reporter)})"
    return f"{bounds} or {_named('native', f'count({about(hosts, DURATIONS, reporter=reporter)})')}"


def histograms(found: Sequence[Row]) -> tuple[tuple[Histogram, ...], bool]:
    """The finite bounds by caller, and whether durations are kept in native histograms alone."""
    proxies: dict[tuple[str, str], dict[float, float]] = defaultdict(dict)
    for row in found:
        if row.labels.get("le"):
            proxies[_caller(row)][_bound(row.labels["le"])] = row.value
    kept = tuple(
        Histogram(Caller(*caller), tuple(sorted(filter(isfinite, its))), mixed=len(set(its.values())) > 1)
        for caller, its in sorted(proxies.items())
    )
    return kept, not kept and any(row.labels.get(KIND) == "native" for row in found)


def places(hosts: Iterable[str], reporter: str = "source") -> str:
    """The clusters whose series there are, by how many ways one pod is scraped at most, and who reports at all."""
    series, of_pods = about(hosts, reporter=reporter), about(hosts, reporter=reporter, only={"pod": ".+"})
    each = ("cluster", "namespace", "pod")
    once = f"count by ({', '.join((*each, *SCRAPERS))}) ({of_pods})"
    clusters = f"count by ({', '.join(CLUSTERS)}) ({series})"
    ways = f"max(count by ({', '.join(each)}) ({once}))"
    reporters = f"count by (reporter) ({about(hosts, reporter='source|destination|waypoint')})"
    return " or ".join(
        (_named("cluster", clusters), _named("scrapers", ways), _named("reporters", reporters)),
    )


def clusters(found: Sequence[Row]) -> tuple[str, ...]:
    """The clusters by name where there are several, else none; a side that Istio does not know is in no cluster."""
    ours = [row.labels for row in found if row.labels.get(KIND) == "cluster"]
    named: list[list[str]] = [sorted({each.get(label, "") for each in ours} - {"", UNKNOWN}) for label in CLUSTERS]
    return tuple(next((names for names in named if len(names) > 1), ()))


def scrapers(found: Sequence[Row]) -> int:
    """By how many ways the same pod is scraped at most; 0 where series name no pod."""
    return max((int(row.value) for row in found if row.labels.get(KIND) == "scrapers"), default=0)


def reporters(found: Sequence[Row]) -> frozenset[str]:
    """Who counts requests to the hosts at all."""
    return frozenset(row.labels.get("reporter", "") for row in found if row.labels.get(KIND) == "reporters")


def control() -> str:
    """What istiod says of itself."""
    rejects = promql.sum_of_deltas(("pilot_total_xds_rejects",), ("type",), CONTROL * 1000)
    pushed = f"sum by (le) (rate(pilot_proxy_convergence_time_bucket[{CONTROL}s]))"
    return " or ".join(
        (
            _named("rejects", f"({rejects} > 0)"),
            _named("convergence", f"histogram_quantile(0.99, {pushed})"),
            _named("build", 'count by (tag) (istio_build{component="proxy"})'),
        )
    )


def istiod(found: Sequence[Row]) -> Istiod:
    """What istiod says of itself."""
    by_kind = {
        kind: [row for row in found if row.labels.get(KIND) == kind] for kind in ("rejects", "convergence", "build")
    }
    slowest = [row.value for row in by_kind["convergence"] if not isnan(row.value)]
    return Istiod(
        tuple(sorted((row.labels.get("type", ""), row.value) for row in by_kind["rejects"])),
        slowest[0] if slowest else None,
        tuple(sorted((row.labels.get("tag", ""), int(row.value)) for row in by_kind["build"])),
    )


def _caller(row: Row) -> tuple[str, str]:
    return row.labels.get("source_workload", ""), row.labels.get("source_workload_namespace", "")


def _numbers(found: Sequence[Row]) -> list[Row]:
    """The rows whose value can be a count."""
    return [row for row in found if isfinite(row.value) and row.value >= 0]


def _bound(text: str) -> float:
    """The bucket's bound: ``500`` with Prometheus 2, ``500.0`` with Prometheus 3."""
    try:
        return float(text)
    except ValueError:
        return float("inf")
