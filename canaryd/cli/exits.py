"""Exit codes. The README lists them; a pipeline may rely on them."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """How ``canaryd run`` ended, or what ``canaryd watch`` saw of it; the last one is of ``canaryd import``."""

    PROMOTED = 0
    INTERNAL_ERROR = 1
    USAGE = 2
    ROLLED_BACK = 10
    ABORTED = 11
    INCONCLUSIVE = 12
    REFUSED = 13
    LEFT_IN_FLIGHT = 14
    LEFT_OUT = 15
