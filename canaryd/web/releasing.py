"""A new release of a plan: what is asked before, and what then is written into the plan."""

from __future__ import annotations

from dataclasses import dataclass

from canaryd.desk import Desk, FolderDesk, SeenPlan, Unknown, find_plan, void_release
from canaryd.web.acting import LONGEST_REASON, Idle, Unsure
from canaryd.web.faults import NotThere

LONGEST_VERSION = 253
"""Characters of a release that are taken from a form."""
ENDED = ("", "promoted", "rolled back")


@dataclass(frozen=True, slots=True)
class ReleaseQuestion:
    """
    What is asked of the person before ``plan`` gets a new release.

    ``why_not`` says why it cannot be, empty where it can; ``warnings`` are what follows beside the run that begins.
    """

    plan: SeenPlan
    why_not: str
    warnings: tuple[str, ...]


def plan_of(desk: Desk, namespace: str, name: str) -> SeenPlan:
    """The plan. Raises :class:`NotThere` where there is none."""
    try:
        return find_plan(desk, f"{namespace}/{name}")
    except Unknown as unknown:
        raise NotThere(str(unknown)) from None


def release_question(desk: Desk, plan: SeenPlan, lacks: str) -> ReleaseQuestion:
    """What is to be asked, and said; ``lacks`` is the right that the person lacks."""
    in_a_folder = "in a folder a release is a line of the plan's file, and the file's owner writes it"
    warnings = [f"{keeper} keeps the plan, and puts back what Git says: write the release there, too"
                for keeper in plan.keepers]  # fmt: skip
    if plan.phase not in ENDED:
        warnings.append(
            f"Release {plan.release} is {plan.phase} at {plan.weight or '0 %'}: what becomes of it the plan says "
            "(onNewRelease; where it says nothing, it is rolled back first)"
        )
    return ReleaseQuestion(plan, in_a_folder if isinstance(desk, FolderDesk) else lacks, tuple(warnings))


def carry_out_release(desk: Desk, plan: SeenPlan, version: str, reason: str) -> str:
    """
    Give ``plan`` the release; it, as it was written.

    Raises :class:`Idle` where the plan asks for it already, :class:`Unsure` where something is missing, and what the
    desk raises.
    """
    version, reason = version.strip(), " ".join(reason.split())
    if not version:
        raise Unsure("what is to be released is not said")
    if len(version) > LONGEST_VERSION or not version.isprintable():
        raise Unsure(f"a release is a name in one line, of at most {LONGEST_VERSION} characters")
    if len(reason) > LONGEST_REASON:
        raise Unsure(f"the reason has {len(reason)} characters, and {LONGEST_REASON} are kept: say it shorter")
    if why := void_release(plan, version):
        raise Idle(why)
    desk.release(plan, version, reason)
    return version
