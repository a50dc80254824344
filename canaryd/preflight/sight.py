"""What preflight itself could not see."""

from __future__ import annotations

from collections.abc import Iterator

from canaryd.kube import grantee
from canaryd.model.finding import Code, Finding
from canaryd.preflight.survey import Survey

TITLE = "What preflight could not see, or make sense of"

NOT_LOOKED_AT = Code(
    "NotLookedAt",
    "info",
    "canaryd's account may not read a kind that preflight looks at; its checks say nothing, neither good nor bad.",
    "Grant it `get` and `list` on the kind; the role in `deploy/` has all of them, bound for the whole cluster.",
)
CHECK_BROKEN = Code(
    "CheckBroken",
    "info",
    "A check of preflight met something that it cannot read; this is a fault of canaryd's and stops nothing.",
    "Report it, with the object that it names.",
)

ACCEPTED_IN_VAIN = Code(
    "AcceptedInVain",
    "warning",
    "The plan accepts (`acceptFindings`) a code that preflight has not, or that nobody can accept because admission "
    "itself refuses: what was meant still stops the run.",
    "Write a code of this page; what stands in its first list has to be mended.",
)

CODES = (NOT_LOOKED_AT, CHECK_BROKEN, ACCEPTED_IN_VAIN)


def check(survey: Survey) -> Iterator[Finding]:
    """The kinds that could not be read, each with the command that grants it."""
    for kind, why in survey.unread.items():
        role = f"canaryd-preflight-{kind}"
        yield NOT_LOOKED_AT.at(
            str(kind),
            f"not looked at: {why}",
            f"kubectl create clusterrole {role} --verb=get,list --resource={kind} && "
            f"kubectl create clusterrolebinding {role} --clusterrole={role} {grantee(survey.account)}",
        )
