"""What preflight itself could not see."""

from __future__ import annotations

from collections.abc import Iterator

from canaryd.kube import CANARY_FREEZES, grantee
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

FREEZES_UNSEEN = Code(
    "FreezesUnseen",
    "warning",
    "The cluster has CanaryFreezes, and the account of `canaryd run` or `serve` may not list those of the plan's "
    "namespace, or of canaryd's own: a freeze or an emergency stop there does not bind the run.",
    "Grant the account `list` on canaryfreezes there. Where canaryd lives in another namespace than `canaryd`, say so "
    "with `lease_namespace` in the settings.",
)

CODES = (NOT_LOOKED_AT, FREEZES_UNSEEN, CHECK_BROKEN, ACCEPTED_IN_VAIN)


def check(survey: Survey) -> Iterator[Finding]:
    """The kinds, and the freezes, that could not be read, each with the command that grants it."""
    for kind, why in survey.unread.items():
        role = f"canaryd-preflight-{kind}"
        yield NOT_LOOKED_AT.at(
            str(kind),
            f"not looked at: {why}",
            f"kubectl create clusterrole {role} --verb=get,list --resource={kind} && "
            f"kubectl create clusterrolebinding {role} --clusterrole={role} {grantee(survey.account)}",
        )
    for namespace, why in survey.unseen_freezes.items():
        whose = f"plans of {namespace}" if namespace == survey.plan.namespace else "all plans"
        role = "canaryd-sees-freezes"
        yield FREEZES_UNSEEN.at(
            f"CanaryFreezes of {namespace}",
            f"a freeze or a stop of {whose} there does not bind this run: {why}",
            f"kubectl create role {role} -n {namespace} --verb=list --resource={CANARY_FREEZES} && "
            f"kubectl create rolebinding {role} -n {namespace} --role={role} {grantee(survey.account)}",
        )
