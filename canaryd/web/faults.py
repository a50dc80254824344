"""What goes wrong, as a status, a title and a sentence for a person; the same for pages and for programs."""

from __future__ import annotations

from dataclasses import dataclass

from canaryd.desk import NotGranted
from canaryd.errors import CanarydError, Conflict, Rejected, Unavailable
from canaryd.kube import Forbidden, Unidentified
from canaryd.model.problem import Refused
from canaryd.web.acting import Idle, Unsure
from canaryd.web.people import NotLetIn


class NotSignedIn(Rejected):
    """Nobody is there, or nobody any more."""


class NotThere(Rejected):
    """What was asked for does not exist."""


class NotOurs(Rejected):
    """A form that this session was not given: another page's, or one from before the session."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An HTTP status, a title that is always the same, and what happened in a sentence."""

    status: int
    title: str
    sentence: str
    remedy: str = ""


def fault_of(error: CanarydError) -> Fault:
    """How ``error`` is told."""
    for kind, status, title in _KINDS:
        if isinstance(error, kind):
            return Fault(status, title, str(error), error.remedy if isinstance(error, NotGranted) else "")
    return Fault(500, "Something is wrong in canaryd", str(error))


_KINDS: tuple[tuple[type[CanarydError], int, str], ...] = (
    (NotSignedIn, 401, "Not signed in"),
    (NotLetIn, 401, "Not let in"),
    (Unidentified, 401, "Not signed in any more"),
    (NotGranted, 403, "Not granted"),
    (Forbidden, 403, "Not granted"),
    (NotOurs, 403, "Not from this page"),
    (NotThere, 404, "Not there"),
    (Idle, 409, "It would do nothing"),
    (Conflict, 409, "Somebody wrote at the same time"),
    (Unsure, 422, "Something is missing"),
    (Refused, 422, "Not acceptable"),
    (Unavailable, 503, "Nobody answers"),
    (Rejected, 422, "Not possible"),
)
"""The first that fits."""
