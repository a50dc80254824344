"""
The errors that cross a room's door, told apart by what the caller does next.

Adapters translate their library's exceptions into these and keep the cause (``raise ... from error``); nothing above an
adapter catches a library's own exception.
"""

from __future__ import annotations


class CanarydError(Exception):
    """Root of canaryd's own errors. Its text is a sentence for the person who runs canaryd."""


class Unavailable(CanarydError):  # noqa: N818  # named for what the caller does next: try again
    """Nobody answered, or not in time: the same call may succeed later. What was asked may have happened."""


class Conflict(CanarydError):  # noqa: N818  # as above: read again and plan again
    """Somebody wrote first, or a guard of ours failed: read again, decide again. Nothing was changed by us."""


class Rejected(CanarydError):  # noqa: N818  # as above: a person has to act
    """The answer is no and stays no (rights, schema, a missing object): trying again changes nothing."""


class Gone(Rejected):
    """What was to be looked at is not there any more."""
