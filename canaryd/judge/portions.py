"""
Checks that count for themselves: one route of many, or other failures than the rest of the plan.

Such a check is judged as any other, on counts of its own: the bets are valid for any counts of both sides from the same
scrape, and the average over all checks is valid whatever the dependence between them, so that ``alpha`` holds for the
whole. What differs is how failures come together, which is learned from stable's requests of the same kind.
"""

from __future__ import annotations

from dataclasses import replace

from canaryd.judge.dispersion import scattered
from canaryd.model.cells import Cell, Portion
from canaryd.model.judgement import CheckState
from canaryd.model.plan import Check


def of(check: Check, cell: Cell) -> Cell | str:
    """
    The cell with what ``check`` counts in place of what all count, or why that is not known.

    How both sides' requests are spread over pods is taken from all of them.
    """
    portion = _portion(check.name, cell)
    if portion is None or portion.why:
        return portion.why if portion else "the cell has no counts of it"
    return replace(
        cell,
        stable=replace(portion.stable, pods=cell.stable.pods),
        canary=replace(portion.canary, pods=cell.canary.pods),
    )


def learned(one: CheckState, cell: Cell) -> CheckState:
    """The check, knowing how its failures scatter in stable; after everything that bets on the cell."""
    portion = _portion(one.name, cell)
    if portion is None or portion.why:
        return one
    stable = portion.stable
    return replace(one, failing=scattered(one.failing, stable.errors, stable.requests, cell.seconds))


def _portion(name: str, cell: Cell) -> Portion | None:
    return next((one for one in cell.portions if one.check == name), None)
