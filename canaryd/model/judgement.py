"""
What the judge remembers between two cells: plain numbers, so that a restart goes on with the same bits.

Nothing in here is infinite or NaN, and capital is kept in natural logarithms: it spans hundreds of powers of ten. A
component without capital is None, because the logarithm of nothing is not a number that JSON knows.
"""

from __future__ import annotations

from dataclasses import dataclass

VERSION = "1"
"""
What a saved state means; changed whenever an older judge would read it wrongly, or a newer one an older state.

A store keeps it beside the state: a run whose state is of another version is held, for guessing would be a verdict.
"""


@dataclass(frozen=True, slots=True)
class Wager:
    """
    A betting capital against "the canary does no harm", spread over alternatives and over moments of onset.

    It starts as ``unspent`` = 1; mass is laid on the components as time goes by, and each component is multiplied by
    its e-value in every cell. ``capital`` holds the logarithm of each component's capital, its prior included.
    ``split`` is the split (thousandths of a percent) at which mass was last laid, None before the first time.
    """

    unspent: float = 1.0
    split: int | None = None
    capital: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Proof:
    """
    Capital against "the canary is worse than the margin", gathered in the present segment only.

    One row of log capitals per question asked: one for errors; for latency one per bucket bound in ``bounds``, which
    holds indices. The proof is the least of the rows.
    """

    rows: tuple[tuple[float, ...], ...] = ()
    bounds: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Tally:
    """
    Counts for people, per category from good to bad, of both sides; they decide nothing.

    ``causes`` are the canary's failures by what they came to, and beside them what is no failure of its (``FI``).
    """

    seconds: float = 0.0
    canary: tuple[float, ...] = ()
    stable: tuple[float, ...] = ()
    causes: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Pairs:
    """Values for people: how many cells had one, in how many it was worse than allowed, and the sums of both sides."""

    cells: int = 0
    worse: int = 0
    canary: float = 0.0
    stable: float = 0.0


@dataclass(frozen=True, slots=True)
class Valued:
    """
    What a check on a query's values remembers.

    ``sizes`` are the last differences without their signs, the oldest first, for each direction that is asked about.
    ``last`` is the end of the last cell whose value counted (Unix seconds), ``since`` the start of the segment's first
    cell. ``level`` and ``rise`` count as those of the check do, ``cells`` all values that counted.
    """

    sizes: tuple[tuple[float, ...], ...] = ()
    since: float | None = None
    last: float | None = None
    cells: int = 0
    level: Pairs = Pairs()
    rise: Pairs = Pairs()


@dataclass(frozen=True, slots=True)
class Scatter:
    """
    How stable varies from one stretch of at least ``span`` seconds to the next.

    ``bad`` of ``requests`` in ``seconds`` are being gathered until there are enough to compare with the ``former``
    ones; those ``seen`` before, the older the less, tell how many are enough. ``squares`` are the last squared
    differences, each divided by what independent requests would give. ``place`` is the bucket bound that tells bad from
    good.
    """

    span: float = 0.0
    place: int = 0
    bad: float = 0.0
    requests: float = 0.0
    seconds: float = 0.0
    former_bad: float = 0.0
    former_requests: float = 0.0
    seen_bad: float = 0.0
    seen_requests: float = 0.0
    squares: tuple[float, ...] = ()


Scatters = tuple[Scatter, Scatter]
"""From cell to cell, and from minute to minute: a hiccup that lasts a minute is no scatter between cells of 15 s."""
SCATTERS: Scatters = (Scatter(), Scatter(span=60.0))


@dataclass(frozen=True, slots=True)
class CheckState:
    """
    One check.

    ``level`` counts since the present segment began; ``rise`` counts since the evidence of harm last stood at or below
    1, which is the stretch that a failure is about. ``excess`` holds a pair of sums for each bet of the proof, over all
    cells, from which it is read how much more the canary fails at most. ``waiting`` says why the last cell was not
    judged, ``note`` what a person should know of the evidence; both are empty when there is nothing to say. ``recent``
    are (start, requests, bad ones) of the last cells, for a hard limit; ``valued`` is for values without counts, and
    ``failing`` tells how stable's failures scatter in a check that counts for itself. ``row`` counts the last cells, or
    values, in a row that were beyond the objective, for a hard limit that asks so.
    """

    name: str
    wager: Wager = Wager()
    proof: Proof = Proof()
    level: Tally = Tally()
    rise: Tally = Tally()
    excess: tuple[tuple[float, float], ...] = ()
    waiting: str = ""
    note: str = ""
    recent: tuple[tuple[float, float, float], ...] = ()
    valued: Valued = Valued()
    failing: Scatters = SCATTERS
    row: int = 0


@dataclass(frozen=True, slots=True)
class PodScatter:
    """
    How stable's pods differ.

    Sums over minutes, each weighted by how much fails in it: of chi-squared, of its degrees of ``freedom``, of freedom
    times requests (``spread``), and of freedom with the weight squared (``doubt``); and of ``failures`` and
    ``requests``. ``gathered`` are (requests, errors) of each pod in the last ``seconds``, until they make a minute.
    """

    squares: float = 0.0
    freedom: float = 0.0
    spread: float = 0.0
    doubt: float = 0.0
    failures: float = 0.0
    requests: float = 0.0
    gathered: tuple[tuple[float, float], ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class History:
    """
    Recent stable: what the next bets are chosen from.

    ``buckets`` are stable's requests per bucket of ``bounds`` (ms), halved for every half-life of wall time up to
    ``end`` (Unix seconds); ``basis`` is what they were at ``basis_end``, and what the bets are made from: it changes
    less often, so that they need not be thought out anew for every cell.

    ``quiet_requests`` and ``quiet_failures`` are the service's requests, and the unattributed
    failures among them, in the cells before the canary had any share. ``rates`` are the last totals per second.
    ``failing``, ``slow`` and ``pods`` tell how stable's failures and slow requests scatter. ``without_cluster`` holds
    for each client, by name, its requests before the canary had any share, and those among them for which its proxy had
    no cluster (NC).
    """

    bounds: tuple[float, ...] = ()
    buckets: tuple[float, ...] = ()
    end: float | None = None
    basis: tuple[float, ...] = ()
    basis_end: float | None = None
    quiet_requests: float = 0.0
    quiet_failures: float = 0.0
    rates: tuple[float, ...] = ()
    failing: Scatters = SCATTERS
    slow: Scatters = SCATTERS
    pods: PodScatter = PodScatter()
    without_cluster: tuple[tuple[str, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Following:
    """
    How a client, or with an empty ``client`` all of them together, follows the present split.

    ``astray`` is the capital against "the share is within the tolerance of the split". ``level`` are the requests (to
    the canary, to both sides) since PASS counts or, before it does, since the settle time; ``rise`` those since that
    capital last fell, or stood at or below 1.
    """

    client: str = ""
    astray: Wager = Wager()
    level: tuple[float, float] = (0.0, 0.0)
    rise: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Exposure:
    """
    Whether the present split is what callers meet, over the settled cells of the present segment.

    ``moved`` is the capital against "the ``former`` split is still in force", ``arrived`` whether it has ever reached
    its bound, and ``due`` the logarithm of what it would have come to by now if the split were in force to the letter.
    ``since`` is the start of the first cell that counts for PASS (Unix seconds), None while none does.
    """

    former: int | None = None
    moved: Wager = Wager(capital=(None,))
    arrived: bool = False
    due: float = 0.0
    everybody: Following = Following()
    clients: tuple[Following, ...] = ()
    since: float | None = None


@dataclass(frozen=True, slots=True)
class JudgeState:
    """
    The judge after some cells.

    ``checks`` are in the order of the plan. ``harm`` is the combined evidence after the last cell and ``peak`` its
    greatest value so far; ``failure`` is the sentence of the cell at which it first reached its bound, and stays.
    ``segment``, ``split``, ``exposure``, ``settled_cells`` and ``settled_requests`` (the canary's) are of the present
    segment, as is ``matched``; the last two are those that count for PASS, from when the share was proven.
    ``canary_since`` is the start of the first cell in which the canary had requests. ``gap`` says why the last cell
    brought nothing (empty if it did), and ``refused`` that this was the judge's own decision.
    """

    checks: tuple[CheckState, ...]
    unattributed: CheckState
    history: History = History()
    exposure: Exposure = Exposure()
    harm: float = 1.0
    peak: float = 1.0
    failure: str = ""
    segment: int | None = None
    split: int = 0
    matched: bool = False
    settled_cells: int = 0
    settled_requests: float = 0.0
    canary_since: float | None = None
    gap: str = ""
    refused: bool = False
    cells: int = 0
