"""
Whether the new weight is what callers meet: the canary's share of their requests, held against the split.

That the mesh *object* holds a weight says nothing of the proxies. Each routes for itself, by chance, request by
request; so of n requests in a cell the canary gets a binomial number, whose share may differ from cell to cell. Two
questions are asked in the settled cells of a segment, and looked at after each of them:

* *Is the former split still in force?* One likelihood ratio, of the new split against an edge between the two. When
  that is refuted the new weight has arrived, and from that cell on evidence counts for PASS.
* *Is the share where the split says?* Likelihood ratios against the edges of a band around the split, asked of all
  callers together and of each client. Where that is refuted, traffic is not where the plan wants it.

For a share of at most e and an alternative q above it, E = (q/e)^x ((1-q)/(1-e))^(n-x) has an expectation of at most 1,
whatever the share is within its bounds and however it moves: a mesh that jitters inside of the band is no evidence. The
capital is laid and grown as that of harm is (``mixture``), so it holds at any moment and for any moment at which the
share goes astray. Only counts of requests are read, never who failed, so that waiting for the share bends no verdict.
"""

from __future__ import annotations

from dataclasses import replace
from math import exp, fsum, log, log1p, sqrt

from canaryd.judge import wording
from canaryd.judge.mixture import grow, lay, shrink, stake_of, worth
from canaryd.model.cells import Cell
from canaryd.model.judgement import Exposure, Following, Wager
from canaryd.model.plan import Analysis
from canaryd.model.traffic import NOTHING, Split

ALPHA_SHARE = 1e-3
"""Bound, per segment, on calling a share proven that is not, and on calling one astray that is within its band."""
SHARE_OFF = 0.2
"""The canary's share may be off by this part of the split, for ever, without anything being said."""
NAUGHT = 0.1
"""After no share at all, a tenth of the split is still nothing: a few strays must not pass for a weight in force."""
ODDS = (1.3, 2.0, 5.0, 30.0)
"""Alternatives on either side of the band: by what the odds of the canary are off at its edge, times this."""
SPELL = 2
"""Cells that it takes at the least: one burst, or one late scrape, must not call traffic astray."""
MOST = 10.0
"""Capital beyond this many times its bound is thrown away, so that a share that is right again is soon said so."""
MOST_CLIENTS = 20
"""Clients that are followed, those with the most requests; each has its part of ALPHA_SHARE."""
FADES = 0.5
"""What is left of a client's capital after a cell in which it sent nothing."""
MATERIAL = 0.05
"""Lagging clients with more than this part of the requests keep PASS from counting; fewer are told and no more."""
OVERDUE = 3.0
"""Times the evidence that a proof needs (a cell counts once at most): a split in force would long have brought it."""
SURE = 1.96
"""Standard deviations of the interval that people are shown."""
NAMED = 3
"""Clients that are named in a sentence."""

_LOG_BOUND = -log(ALPHA_SHARE)
_CLIENT_BOUND = (MOST_CLIENTS + 1) / ALPHA_SHARE
_BLANK = Wager(capital=(None,) * (2 * len(ODDS)))


def followed(analysis: Analysis, exposure: Exposure, cell: Cell) -> Exposure:
    """
    What is known of the share after a cell.

    Cells that are not settled, and the traffic of no split, say nothing. Failures without a version count as sent to
    the canary: a dead canary is not traffic that went astray.
    """
    if not cell.settled or cell.split == NOTHING:
        return exposure
    sent, total = cell.all_canary + cell.unattributed, _total(cell)
    if not total:
        return exposure
    upward = compares(analysis)
    former = None if cell.former is None or cell.former == cell.split else cell.former.canary
    exposure = replace(
        exposure,
        former=former,
        everybody=_followed(exposure.everybody, (sent, total), cell, 1 / ALPHA_SHARE, upward=upward),
        clients=_clients(exposure.clients, cell, upward=upward),
    )
    if former is not None and not exposure.arrived:
        exposure = _moved(exposure, (sent, total), cell, Split(former))
    if not _holds(exposure):
        return replace(exposure, since=None)
    return exposure if exposure.since is not None else _begun(exposure, cell)


def compares(analysis: Analysis) -> bool:
    """
    Whether the plan compares the versions: then more than the split is astray too.

    Without comparing, header or cookie entries may add canary traffic beyond the weight, and that is how it should be.
    """
    return any(check.compares for check in analysis.checks)


def lagging(exposure: Exposure) -> tuple[Following, ...]:
    """The clients whose own share is not the split's, those with the most requests first."""
    found = [one for one in exposure.clients if worth(one.astray) >= _CLIENT_BOUND]
    return tuple(sorted(found, key=lambda one: (-one.level[1], one.client)))


def astray(exposure: Exposure) -> bool:
    """Whether traffic is not where the split says: of all callers, or of clients that matter."""
    return worth(exposure.everybody.astray) >= 1 / ALPHA_SHARE or _material(exposure)


def overdue(exposure: Exposure) -> bool:
    """Whether the former split would long have been refuted, if it were not in force."""
    return not exposure.arrived and exposure.due >= OVERDUE * _LOG_BOUND


def doubt(exposure: Exposure, split: Split) -> str:
    """What keeps the evidence from counting, in a sentence, or an empty text."""
    late = lagging(exposure)
    if _material(exposure) and late:
        told = ", ".join(_of_client(one) for one in late[:NAMED])
        who = "not every client follows" if len(late) < len(exposure.clients) else "no client follows"
        more = f" and {len(late) - NAMED} more" if len(late) > NAMED else ""
        return f"share: {who} the split of {split}: {told}{more}{_as_before(exposure, late[0], split)}"
    if astray(exposure):
        everybody = exposure.everybody
        if not everybody.rise[0]:
            return f"share: no request reaches the canary; it got {_figures(everybody.rise)}, wanted {split}"
        figures = _figures(everybody.rise)
        return f"share: the canary got {figures}, wanted {split}{_as_before(exposure, everybody, split)}"
    if overdue(exposure):
        figures = _figures(exposure.everybody.level)
        return f"share: the canary got {figures}, wanted {split}; that may as well be the former {_former(exposure)}"
    return ""


def words(exposure: Exposure, split: Split) -> str:
    """The canary's share as it stands, in a sentence, and a client that lags though it is too small to matter."""
    if not exposure.everybody.level[1]:
        return ""
    stands = f"the canary got {_figures(exposure.everybody.level)}, wanted {split}"
    if exposure.since is None and not astray(exposure) and exposure.former is not None and not exposure.arrived:
        stands += f"; not yet told from the former {_former(exposure)}"
    if (late := lagging(exposure)) and not _material(exposure):
        told = ", ".join(_of_client(one) for one in late[:NAMED])
        stands += f"; too small to matter, but not following: {told}"
    return stands


def interval(sent: float, total: float) -> tuple[float, float]:
    """Wilson's interval of 95 % for a share (1927): for people, who look once; decisions have bounds of their own."""
    squared = SURE * SURE
    middle = (sent + squared / 2) / (total + squared)
    half = SURE * sqrt(sent * max(0.0, total - sent) / total + squared / 4) / (total + squared)
    return max(0.0, middle - half), min(1.0, middle + half)


def _holds(exposure: Exposure) -> bool:
    return (exposure.former is None or exposure.arrived) and not astray(exposure)


def _begun(exposure: Exposure, cell: Cell) -> Exposure:
    """The share from the first cell that counts: what is told of it is told from here."""
    sent, total = cell.all_canary + cell.unattributed, _total(cell)
    here = {caller.client: (caller.canary, caller.requests) for caller in cell.callers}
    return replace(
        exposure,
        since=cell.start,
        everybody=replace(exposure.everybody, level=(sent, total)),
        clients=tuple(replace(one, level=here.get(one.client, (0.0, 0.0))) for one in exposure.clients),
    )


def _material(exposure: Exposure) -> bool:
    return fsum(one.level[1] for one in lagging(exposure)) > MATERIAL * exposure.everybody.level[1]


def _clients(known: tuple[Following, ...], cell: Cell, *, upward: bool) -> tuple[Following, ...]:
    """
    The clients after a cell, the largest of them if there are too many; in the order of their names.

    One that sent nothing loses what was held against it little by little: a client that is gone must hold nobody up.
    """
    before = {one.client: one for one in known}
    found = {one.client: replace(one, astray=shrink(one.astray, FADES)) for one in known}
    for caller in cell.callers:
        if caller.client and caller.requests > 0:
            one = before.get(caller.client, Following(caller.client))
            counts = (caller.canary, caller.requests)
            found[caller.client] = _followed(one, counts, cell, _CLIENT_BOUND, upward=upward)
    largest = sorted(found.values(), key=lambda one: (-one.level[1], one.client))[:MOST_CLIENTS]
    return tuple(sorted(largest, key=lambda one: one.client))


def _followed(one: Following, counts: tuple[float, float], cell: Cell, bound: float, *, upward: bool) -> Following:
    wager = lay(
        one.astray if one.astray.capital else _BLANK, cell.split.canary, cell.seconds, _prior(cell.split, upward=upward)
    )
    wager = grow(wager, _against_the_band(counts, cell.split))
    rising = 1 < worth(one.astray) <= worth(wager)
    if (stake := stake_of(wager)) > MOST * bound:
        wager = shrink(wager, MOST * bound / stake)
    return replace(
        one,
        astray=wager,
        level=_add(one.level, counts),
        rise=_add(one.rise, counts) if rising else counts,
    )


def _prior(split: Split, *, upward: bool) -> tuple[float, ...]:
    """Half of the mass on either side of the band; what cannot be bet on is left to the other."""
    above = upward and _band(split)[1] < 1
    low, high = (0.5, 0.5) if above else (1.0, 0.0)
    return (*(low / len(ODDS) for _ in ODDS), *(high / len(ODDS) for _ in ODDS))


def _band(split: Split) -> tuple[float, float]:
    return split.share * (1 - SHARE_OFF), split.share * (1 + SHARE_OFF)


def _against_the_band(counts: tuple[float, float], split: Split) -> tuple[float, ...]:
    """Log e-values against "the share is at least the band's lower edge", and "at most its upper one"."""
    most = _LOG_BOUND / SPELL
    low, high = _band(split)
    below = (min(most, _log_e(counts, low, _at_odds(low, 1 / odds))) for odds in ODDS)
    if high >= 1:
        return (*below, *(0.0 for _ in ODDS))
    return (*below, *(min(most, _log_e(counts, high, _at_odds(high, odds))) for odds in ODDS))


def _moved(exposure: Exposure, counts: tuple[float, float], cell: Cell, former: Split) -> Exposure:
    """The share after a cell in which it is still asked whether the new split has arrived."""
    edge, sought = _told_apart(former.share, cell.split.share)
    wager = lay(exposure.moved, cell.split.canary, cell.seconds, (1.0,))
    wager = grow(wager, (_log_e(counts, edge, sought),))
    to_the_letter = sought * log(sought / edge) + (1 - sought) * log((1 - sought) / (1 - edge))
    due = exposure.due + min(_LOG_BOUND, counts[1] * to_the_letter)
    return replace(exposure, moved=wager, arrived=worth(wager) >= 1 / ALPHA_SHARE, due=due)


def _told_apart(former: float, split: float) -> tuple[float, float]:
    """
    The largest share that still counts as the former split, and the one that is bet on (mirrored where it falls).

    Never more than halfway, in proportion, to the new one: steps that are near each other are to be told apart too.
    """
    halfway = sqrt(former * split)
    if split > former:
        edge = max(min(former * (1 + SHARE_OFF), halfway), NAUGHT * split)
        return edge, split if split < 1 else (1 + edge) / 2
    return max(former * (1 - SHARE_OFF), halfway), split


def _log_e(counts: tuple[float, float], edge: float, alternative: float) -> float:
    """The log-likelihood ratio of ``alternative`` against ``edge`` for (to the canary, to both)."""
    sent, total = counts
    return sent * log(alternative / edge) + max(0.0, total - sent) * (log1p(-alternative) - log1p(-edge))


def _at_odds(edge: float, odds: float) -> float:
    """The share whose odds are ``odds`` times those at ``edge``."""
    return 1 / (1 + exp(-log(odds) - log(edge / (1 - edge))))


def _as_before(exposure: Exposure, one: Following, split: Split) -> str:
    """That a share looks like the former split, which is how a proxy that lags looks."""
    if exposure.former is None or not one.rise[1]:
        return ""
    found, former = one.rise[0] / one.rise[1], _former(exposure)
    nearer = abs(found - former.share) < abs(found - split.share)
    return f"; that is nearer to the former {former}" if nearer else ""


def _former(exposure: Exposure) -> Split:
    return Split(exposure.former or 0)


def _of_client(one: Following) -> str:
    return f"{one.client} gave it {_figures(one.rise)}"


def _figures(counts: tuple[float, float]) -> str:
    return wording.share_of(*counts, interval(*counts))


def _total(cell: Cell) -> float:
    return cell.all_canary + cell.unattributed + cell.all_stable


def _add(left: tuple[float, float], right: tuple[float, float]) -> tuple[float, float]:
    return left[0] + right[0], left[1] + right[1]
