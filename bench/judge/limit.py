"""
The least information that any test needs, and how much a cell holds: the yardstick of the benchmark.

A test that fails a harmless canary with a probability of at most alpha and a bad one with at least 1 - beta has, when
it stops on a bad one, gathered at least kl(1 - beta, alpha) nats on average (Wald, "Sequential Analysis", 1947). With
an unknown baseline a request of a service that sends a share w to the canary holds the generalised Jensen-Shannon
divergence of the two sides; a ramp adds up what its cells hold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def least(alpha: float = 0.01, beta: float = 0.05) -> float:
    """Nats that a bad canary's discovery needs on average: 4.18 for the defaults."""
    return float((1 - beta) * np.log((1 - beta) / alpha) + beta * np.log(beta / (1 - alpha)))


def information(stable: Floats, canary: Floats, share: Floats | float) -> Floats:
    """
    Nats per request of the whole service.

    ``stable`` and ``canary`` are shares of the outcomes (last axis), ``share`` the canary's of the traffic.
    """
    weight = np.asarray(share)[..., None]
    middle = (1 - weight) * stable + weight * canary
    each = (1 - weight) * _divergence(stable, middle) + weight * _divergence(canary, middle)
    return np.asarray(each.sum(axis=-1))


def _divergence(part: Floats, whole: Floats) -> Floats:
    """part log(part / whole), term by term; nothing times anything is nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(part > 0, part * np.log(part / whole), 0.0)
