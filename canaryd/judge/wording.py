"""
The judge's words, written once: every outlet shows these sentences as they are.

A release manager reads them: what was measured, on how many requests, how sure that is and how sure it has to be.
"""

from __future__ import annotations

from canaryd.model.check import HardLimit, Tolerance
from canaryd.model.evidence import render_evidence
from canaryd.model.failures import Failures, grpc_name
from canaryd.model.judgement import Pairs, Tally
from canaryd.model.where import Where, words

evidence = render_evidence
NAMED = 3
"""Causes of failures that are named; what is left is others."""
CAUSES = {
    "DC": "given up by the client",
    "UT": "timed out",
    "UF": "could not connect",
    "UC": "cut off in the middle",
    "UR": "cut off in the middle",
    "UO": "turned away by the circuit breaker",
}
"""Envoy's response flags in a release manager's words; they follow a number of requests."""


def number(value: float) -> str:
    """A count: thousands separated, fractions only where there are any below ten."""
    return f"{value:,.0f}" if value >= 10 or value == round(value) else f"{value:,.1f}"


def percent(part: float, whole: float) -> str:
    """A share in percent with about two digits that matter; "nothing" of nothing is a dash."""
    if not whole:
        return "–"
    share = 100 * part / whole
    if share == 0 or share >= 99.95:
        return f"{share:.0f} %"
    return f"{share:.1f} %" if share >= 1 else f"{share:.2f} %" if share >= 0.095 else f"{share:.2g} %"


def share(value: float) -> str:
    """A share as in a plan, without digits that say nothing."""
    return f"{100 * value:.6g} %"


def span(seconds: float) -> str:
    """A stretch of time."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def duration(milliseconds: float) -> str:
    """A bucket bound."""
    return f"{milliseconds / 1000:g} s" if milliseconds >= 1000 else f"{milliseconds:g} ms"


def errors(
    name: str,
    canary: tuple[float, float],
    stable: tuple[float, float],
    when: str,
    causes: tuple[tuple[str, float], ...] = (),
) -> str:
    """``canary`` and ``stable`` are (failed, requests); ``causes`` what the canary's failures came to."""
    left_out = ""
    if injected := dict(causes).get("FI", 0.0):
        left_out = f"; {number(injected)} more were answered by the mesh's own fault rule (FI) and are not counted"
    return (
        f"{name}: canary {percent(*canary)} of {number(canary[1])} requests{came_to(causes)}, "
        f"stable {percent(*stable)} of {number(stable[1])} {when}{left_out}"
    )


def came_to(causes: tuple[tuple[str, float], ...]) -> str:
    """What failures came to, in brackets, the most frequent first; nothing where there are none."""
    failures = sorted(
        ((name, count) for name, count in causes if name != "FI" and count), key=lambda one: (-one[1], one[0])
    )
    told = [f"{number(count)} {_cause(name)}" for name, count in failures[:NAMED]]
    if rest := sum(count for _, count in failures[NAMED:]):
        told.append(f"{number(rest)} others")
    return f" ({', '.join(told)})" if told else ""


def _cause(name: str) -> str:
    if name.startswith("grpc"):
        return f"ended in gRPC status {grpc_name(name.removeprefix('grpc '))}"
    return CAUSES.get(name, f"answered {name}")


def of_those(where: Where) -> str:
    """Which requests a check is about, behind its name."""
    return f" of {words(where)}" if where else ""


def counted(failures: Failures) -> str:
    """What the plan calls a failure, where that is not the usual."""
    return f"; a failure is {failures.words}" if failures.words else ""


def latency(name: str, bound: float, canary: tuple[float, float], stable: tuple[float, float], when: str) -> str:
    """``canary`` and ``stable`` are (slower than the bound, requests that did not fail)."""
    return (
        f"{name}: {percent(*canary)} of the canary's {number(canary[1])} requests took longer than {duration(bound)}, "
        f"{percent(*stable)} of stable's {number(stable[1])} {when}"
    )


def objective(name: str, what: str, canary: tuple[float, float], at_most: str, when: str) -> str:
    """``what`` happened to the bad ones; ``at_most`` is the objective in words."""
    return f"{name}: {percent(*canary)} of the canary's {number(canary[1])} requests {what} {when}, {at_most}"


def hard_limit(limit: HardLimit | None) -> str:
    """That an objective is a hard limit too."""
    if limit is None:
        return ""
    if limit.consecutive is not None:
        cells = "each cell" if limit.consecutive == 1 else f"{limit.consecutive} cells in a row"
        return f", as a hard limit for {cells} of {number(limit.min_requests)} requests or more"
    return (
        f", as a hard limit over {span(limit.over.total_seconds())} and {number(limit.min_requests)} requests or more"
    )


def at_most(excess: float, beta: float) -> str:
    """What can be said of the canary's failures before anything is proven."""
    if not excess:
        return f"it fails no more often than stable ({share(1 - beta)} sure, at any time)"
    return (
        f"at most {percent(excess, 1)} of its requests more than of stable's fail ({share(1 - beta)} sure, at any time)"
    )


def against(measured: float, bound: float) -> str:
    """An e-value beside its bound; without one where there is none."""
    return f"{evidence(measured)} (bound {evidence(bound)})" if bound else evidence(measured)


def scatter(what: str, found: float | None, assumed: float) -> str:
    """What is done about ``what`` coming together: as ``found`` in stable, or ``assumed`` while that is not known."""
    if found is None:
        taken = f"clumps of {assumed:g} are assumed" if assumed > 1 else "none is assumed to bring another"
        return f"; too few of stable's {what} are known to tell how they come together, {taken}"
    if found > 1:
        return f"; stable's {what} vary {found:.1f} times as much as independent ones, and that is allowed for"
    return ""


def unattributed(failures: float, sent: float, no_cluster: float = 0.0, clients: tuple[str, ...] = ()) -> str:
    """
    Requests that found no healthy canary; for ``no_cluster`` of the service's the mesh had no destination at all.

    That is each client's own affair: ``clients`` are those that met it, the most affected first.
    """
    missing = ""
    if no_cluster:
        at = f" of {', '.join(clients[:NAMED])}{' and others' if len(clients) > NAMED else ''}" if clients else ""
        missing = (
            f"; for {number(no_cluster)} the proxies{at} knew no destination (NC): "
            "is the subset in the DestinationRule of the client's namespace?"
        )
    if not failures:
        sent_to = f"about {number(round(sent))} requests were sent to the canary"
        return f"reachability: {sent_to} and none found it dead{missing}"
    noun = "request" if failures == 1 else "requests"
    return (
        f"reachability: {number(failures)} {noun} found no healthy canary (503 UH/UF/NC) "
        f"of about {number(round(sent))} sent to it{missing}"
    )


def share_of(part: float, whole: float, interval: tuple[float, float]) -> str:
    """How much of the requests the canary got, with the interval that its share is in (shares of 1)."""
    low, high = (percent(bound, 1).removesuffix(" %") for bound in interval)
    return f"{percent(part, whole)} of {number(whole)} requests (95 % interval {low} to {high} %)"


def window(tally: Tally, level: str, rising: bool) -> str:
    """When a tally was gathered: ``level`` is the split."""
    return f"in the last {span(tally.seconds)}" if rising else f"at {level}"


def value(measured: float) -> str:
    """A number in a unit that is not known here."""
    return f"{measured:,.4g}" if abs(measured) < 1e6 else f"{measured:.4g}"


def traffic(name: str, requests: float, seconds: float, split: str, least: float, against: float, hold: float) -> str:
    """``requests`` of the canary in ``seconds``; ``against`` is the evidence that they are too few."""
    if not seconds:
        return (
            f"{name}: nothing counted yet at {split}, at least {value(least)} requests a second must reach the canary"
        )
    return (
        f"{name}: {value(requests / seconds)} requests a second reach the canary at {split} "
        f"({number(requests)} in {span(seconds)}), at least {value(least)} must; "
        f"evidence of too few {evidence(against)} (holds at {evidence(hold)})"
    )


def valued(name: str, pairs: Pairs, beyond: str, when: str) -> str:
    """A query's value against a number; ``when`` is empty for the last cells."""
    return (
        f"{name}: {value(pairs.canary / pairs.cells)} on average of {_cells(pairs, when)} with a value{when}, "
        f"{beyond} in {pairs.worse} of them"
    )


def row(name: str, count: int, beyond: str, last: float) -> str:
    """``count`` values in a row that are ``beyond``, the last of them among them."""
    if count == 1:
        return f"{name}: a value {beyond}, {value(last)}"
    return f"{name}: {count} values in a row {beyond}, the last one {value(last)}"


def paired(name: str, pairs: Pairs, by: Tolerance, direction: str, when: str) -> str:
    """A query's value of both sides; ``when`` is empty for the last cells."""
    how = {"higher": "higher", "lower": "lower", "either": "further off"}[direction]
    allowed = f"{by.times:g} times" + (f" and {value(by.plus)}" if by.plus else "")
    return (
        f"{name}: canary {value(pairs.canary / pairs.cells)}, stable {value(pairs.stable / pairs.cells)} "
        f"on average of {_cells(pairs, when)} paired{when}, {how} than allowed ({allowed}) in {pairs.worse} of them"
    )


def _cells(pairs: Pairs, when: str) -> str:
    cells = f"{pairs.cells} cell{'' if pairs.cells == 1 else 's'}"
    return cells if when else f"the last {cells}"
