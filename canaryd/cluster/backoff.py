"""How long to wait after a failure: longer each time, and never all at the same moment."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from canaryd.kube import Throttled


@dataclass(slots=True)
class Backoff:
    """
    Exponential backoff with full jitter, in seconds.

    Full jitter (anything between nothing and the ceiling) spreads the clients of a server that comes back best; see
    "Exponential Backoff And Jitter" of the AWS architecture blog.
    """

    first: float = 0.2
    longest: float = 30.0
    chance: Callable[[float, float], float] = random.uniform
    failures: int = 0

    @property
    def ceiling(self) -> float:
        """The longest that the next wait may be."""
        return float(min(self.longest, self.first * 2.0 ** min(self.failures, 60)))

    def after(self, error: BaseException | None = None) -> float:
        """How long to wait after one more failure; a server that says when it wants to be asked again is obeyed."""
        wait = self.chance(0.0, self.ceiling)
        self.failures += 1
        return max(wait, error.after + self.chance(0.0, 1.0)) if isinstance(error, Throttled) else wait

    def reset(self) -> None:
        self.failures = 0
