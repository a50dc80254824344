"""
Capacity: whether the canary's pods can carry what the steps give them, and stable's what a retreat gives back.

canaryd moves traffic and scales nothing. Whoever does (an HPA, KEDA) follows the load, and takes stable's pods away
while the canary has its traffic; a rollback comes within a second, new pods do not.

How much a pod can carry is not known. What stable's pods carry today is taken for the measure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from canaryd.kube import PODS
from canaryd.mesh.pods import is_ready
from canaryd.model.finding import Code, Finding
from canaryd.model.traffic import EVERYTHING, Side, Split
from canaryd.preflight.behind import Behind, Workload, behind_versions, sides_of
from canaryd.preflight.destinations import Destined, destined
from canaryd.preflight.kinds import AUTOSCALERS, BUDGETS, ENDPOINT_SLICES, SCALED_OBJECTS
from canaryd.preflight.saying import patching, some
from canaryd.preflight.survey import Object, Survey, labels_of, name_of, spec_of

TITLE = "Capacity"

CROWDED = 1.5
"""A canary's pod that takes this many times of what stable's take today is worth a warning."""
SERVICE_NAME = "kubernetes.io/service-name"
PAUSED = ("autoscaling.keda.sh/paused", "autoscaling.keda.sh/paused-replicas")

CANARY_TOO_SMALL = Code(
    "CanaryTooSmall",
    "warning",
    "At one of the plan's weights, or at 100 % in the end, each pod of the canary would take half as much again, or "
    "more, as a pod of stable takes today, and nothing scales it: what fails then fails for want of pods.",
    "Scale the canary to as many pods as stable has before the run, or give it an autoscaler.",
)
CANARY_CAPPED = Code(
    "AutoscalerCapsCanary",
    "warning",
    "The canary's autoscaler may not make as many pods as the last weights need, by what stable has today.",
    "Raise its upper limit to what stable has.",
)
CANARY_TO_ZERO = Code(
    "CanaryScalesToZero",
    "warning",
    "The canary's autoscaler may take away its last pod while it has little traffic; a canary without a ready pod at a "
    "weight above 0 fails its run.",
    "Let it keep one pod while the run lasts.",
)
STABLE_SHRINKS = Code(
    "StableShrinks",
    "warning",
    "Stable's autoscaler takes pods away as the canary takes traffic, and a retreat brings all of it back within a "
    "second, to as few pods as its lower limit allows.",
    "Hold the lower limit at today's number while the run lasts.",
)
AT_LIMIT = Code(
    "AutoscalerAtLimit",
    "warning",
    "Stable's autoscaler has reached its upper limit: stable may be short of pods today, which makes it a poor "
    "measure, and a retreat finds no more of them.",
    "Raise the upper limit.",
)
BLIND = Code(
    "AutoscalerBlind",
    "warning",
    "An autoscaler of a version cannot do its work (its metric is missing, as a rule), so that nothing follows the "
    "load.",
    "See its conditions with `kubectl describe`; as a rule the metrics server or a resource request is missing.",
)
STABLE_NOT_WHOLE = Code(
    "StableNotWhole",
    "warning",
    "Not all of stable's pods are ready: what the canary is compared with is short of pods, and so would a retreat be.",
    "Wait until they are ready, or see why they are not.",
    transient=True,
)
NOT_IN_ENDPOINTS = Code(
    "NotInEndpoints",
    "warning",
    "Pods are ready and are not among the endpoints of their Service's port, so that they get no requests; an error "
    "where that is so for every pod of a version.",
    "See whether the Service's `targetPort` names a port that the pods have, and `publishNotReadyAddresses`.",
)
BUDGET_ALLOWS_NONE = Code(
    "BudgetAllowsNone",
    "info",
    "A PodDisruptionBudget of a version lets no pod be evicted at present: draining a node waits until it does.",
    "Nothing, unless a node is to be drained while the run lasts.",
)
BUDGET_COVERS_BOTH = Code(
    "BudgetCoversBoth",
    "info",
    "One PodDisruptionBudget covers both versions: it is content with stable's pods, and a drain may take all of the "
    "canary's at once, which would fail its run.",
    "Give each version a budget that selects it alone (a pod under two budgets is never evicted), or drain no nodes "
    "while the run lasts.",
)

CODES = (
    CANARY_TOO_SMALL,
    CANARY_CAPPED,
    CANARY_TO_ZERO,
    STABLE_SHRINKS,
    AT_LIMIT,
    BLIND,
    STABLE_NOT_WHOLE,
    NOT_IN_ENDPOINTS,
    BUDGET_ALLOWS_NONE,
    BUDGET_COVERS_BOTH,
)


@dataclass(frozen=True, slots=True)
class Scaler:
    """
    What changes a workload's number of pods: an HPA, or a ScaledObject of KEDA (whose HPA is its own affair).

    ``floor`` and ``ceiling`` are its limits in pods, ``floor_key`` and ``ceiling_key`` their names in its spec;
    ``blind`` says why it does nothing, and is empty where it does.
    """

    found: Object
    kind: str
    floor: int
    ceiling: int
    floor_key: str
    ceiling_key: str
    blind: str = ""
    shrinks: bool = True

    def __str__(self) -> str:
        return f"{self.kind} {name_of(self.found)}"

    def limiting(self, key: str, value: int) -> str:
        """The command that sets a limit."""
        return patching(_PLURALS[self.kind], self.found, {"spec": {key: value}})


_PLURALS = {"HorizontalPodAutoscaler": "hpa", "ScaledObject": "scaledobjects.keda.sh"}


def check(survey: Survey) -> Iterator[Finding]:
    """Pods against weights, autoscalers, endpoints and budgets, of both versions."""
    sides, versions = sides_of(survey), behind_versions(survey)
    if sides is None or len(versions) < 2:  # what is missing is admission's to say
        return
    stable, canary = versions
    yield from _whole(stable, sides.stable)
    if not {AUTOSCALERS, SCALED_OBJECTS} & survey.unread.keys():
        scalers = [_scaler_of(survey, one) for one in versions]
        yield from _stable_scales(stable, sides.stable, scalers[0])
        yield from _canary_holds(survey, canary, sides.stable, sides.canary, scalers[1])
        yield from (BLIND.at(str(one), f"does not scale: {one.blind}") for one in scalers if one and one.blind)
    yield from _endpoints(survey, versions)
    yield from _budgets(survey, versions)


def _whole(stable: Behind, side: Side) -> Iterator[Finding]:
    if 0 < side.ready < side.desired:
        said = f"{side.ready} of {side.desired} are ready: stable is short of pods as a measure, and for a retreat"
        yield STABLE_NOT_WHOLE.at(str(stable), said)


# Autoscalers


def _scaler_of(survey: Survey, side: Behind) -> Scaler | None:
    """What scales the side's workloads, if anything does."""
    for found in survey.all(SCALED_OBJECTS, side.namespace):
        if _targets(found, side.workloads) and not any(
            key in (found["metadata"].get("annotations") or {}) for key in PAUSED
        ):
            return _of_keda(found)
    for found in survey.all(AUTOSCALERS, side.namespace):
        owners = found["metadata"].get("ownerReferences") or ()
        if _targets(found, side.workloads) and not any(one.get("kind") == "ScaledObject" for one in owners):
            return _of_kubernetes(found)
    return None


def _targets(found: Object, workloads: Iterable[Workload]) -> bool:
    target = spec_of(found).get("scaleTargetRef") or {}
    kind = target.get("kind") or "Deployment"
    return any(one.name == target.get("name") and one.kind in (kind, "") for one in workloads)


def _of_kubernetes(found: Object) -> Scaler:
    spec = spec_of(found)
    down = (spec.get("behavior") or {}).get("scaleDown") or {}
    return Scaler(
        found,
        "HorizontalPodAutoscaler",
        _number(spec.get("minReplicas"), 1),
        _number(spec.get("maxReplicas"), 1),
        "minReplicas",
        "maxReplicas",
        _untrue(found, "ScalingActive"),
        shrinks=down.get("selectPolicy") != "Disabled",
    )


def _of_keda(found: Object) -> Scaler:
    spec = spec_of(found)
    advanced = ((spec.get("advanced") or {}).get("horizontalPodAutoscalerConfig") or {}).get("behavior") or {}
    return Scaler(
        found,
        "ScaledObject",
        _number(spec.get("minReplicaCount"), 0),
        _number(spec.get("maxReplicaCount"), 100),
        "minReplicaCount",
        "maxReplicaCount",
        _untrue(found, "Ready"),
        shrinks=(advanced.get("scaleDown") or {}).get("selectPolicy") != "Disabled",
    )


def _number(value: Any, default: int) -> int:
    return default if value is None else int(value)


def _untrue(found: Object, condition: str) -> str:
    """Why a condition is false; empty where it is not, or where scaling is off by the number of pods itself."""
    for each in (found.get("status") or {}).get("conditions") or ():
        if each.get("type") == condition and each.get("status") == "False" and each.get("reason") != "ScalingDisabled":
            return str(each.get("message") or each.get("reason") or f"{condition} is False")
    return ""


def _stable_scales(stable: Behind, side: Side, scaler: Scaler | None) -> Iterator[Finding]:
    if scaler is None:
        return
    if scaler.shrinks and scaler.floor < side.desired:
        yield STABLE_SHRINKS.at(
            str(scaler),
            f"may take {stable.side} from {side.desired} pods to {scaler.floor} while the canary has its traffic, and "
            "a retreat brings all of it back at once",
            scaler.limiting(scaler.floor_key, side.desired),
        )
    if side.desired >= scaler.ceiling > scaler.floor:
        yield AT_LIMIT.at(
            str(scaler),
            f"has {stable.side} at its upper limit of {scaler.ceiling} pods: it may be short of them today",
            scaler.limiting(scaler.ceiling_key, side.desired + math.ceil(side.desired / 2)),
        )


# The canary's pods


def _canary_holds(survey: Survey, canary: Behind, stable: Side, side: Side, scaler: Scaler | None) -> Iterator[Finding]:
    """
    What each pod would take at each weight, in terms of what a pod of stable takes today.

    At a share w of the traffic that s pods carry today, each of c pods takes w * s / c of what one of those does.
    """
    if not (stable.desired and side.desired):
        return
    if scaler is not None and scaler.floor == 0:
        yield CANARY_TO_ZERO.at(
            str(scaler), f"may scale {canary.side} to nothing, and a run whose canary has no ready pod fails",
            scaler.limiting(scaler.floor_key, 1),
        )  # fmt: skip
    most = max(side.desired, scaler.ceiling) if scaler else side.desired
    weight = next((one for one in _weights(survey) if one.share * stable.desired / most >= CROWDED), None)
    if weight is None:
        return
    load = weight.share * stable.desired / most
    each = f"each of {most} pods" if most > 1 else "its one pod"
    sentence = f"at {weight} {each} would take {load:.2g} times what each of stable's {stable.desired} takes today"
    if scaler is not None:
        remedy = scaler.limiting(scaler.ceiling_key, stable.desired)
        yield CANARY_CAPPED.at(str(scaler), f"may make no more than {most} pods of {canary.side}: {sentence}", remedy)
        return
    [*workloads] = canary.workloads
    single = len(workloads) == 1 and workloads[0].kind in ("Deployment", "StatefulSet")
    scale = f"kubectl scale {workloads[0].argument} -n {canary.namespace} --replicas={stable.desired}" if single else ""
    yield CANARY_TOO_SMALL.at(str(canary), sentence, scale)


def _weights(survey: Survey) -> tuple[Split, ...]:
    """The plan's weights, and the whole that a promotion ends with."""
    return (*(step.weight for step in survey.plan.spec.steps), EVERYTHING)


# Endpoints and budgets


def _endpoints(survey: Survey, versions: tuple[Behind, ...]) -> Iterator[Finding]:
    if ENDPOINT_SLICES in survey.unread:
        return
    ways = list(destined(survey))
    for side in versions:
        way = next((one for one in ways if one.version == side.version and one.service), None)
        if way is None or way.service is None:
            continue
        home, name = way.service["metadata"].get("namespace") or "", way.service["metadata"]["name"]
        slices = [one for one in survey.all(ENDPOINT_SLICES, home) if labels_of(one).get(SERVICE_NAME) == name]
        if not slices:  # nobody keeps any here
            continue
        served = {pod for each in slices if _has_port(each, way) for pod in _pods_in(each)}
        absent = [pod["metadata"]["name"] for pod in side.ready if pod["metadata"]["name"] not in served]
        if absent:
            yield NOT_IN_ENDPOINTS.at(
                str(side),
                f"{len(absent)} of {len(side.ready)} ready pods ({some(absent)}) are not among the endpoints of "
                f"Service {home}/{name}, and get no requests",
                level="error" if len(absent) == len(side.ready) else "warning",
            )


def _has_port(found: Object, way: Destined) -> bool:
    """Whether the slice is of the port that is meant; a slice holds the pods that have all of its ports."""
    if way.port is None:
        return True
    return any((each.get("name") or "") == (way.port.get("name") or "") for each in found.get("ports") or ())


def _pods_in(found: Object) -> Iterator[str]:
    for each in found.get("endpoints") or ():
        ready = (each.get("conditions") or {}).get("ready")
        if ready is not False and (each.get("targetRef") or {}).get("kind") == "Pod":
            yield str(each["targetRef"].get("name") or "")


def _budgets(survey: Survey, versions: tuple[Behind, ...]) -> Iterator[Finding]:
    if BUDGETS in survey.unread:
        return
    for budget in survey.all(BUDGETS):
        covered = [side for side in versions if _covers(budget, side)]
        where = f"PodDisruptionBudget {name_of(budget)}"
        if len(covered) == len(versions):
            said = "covers both versions: a drain may take all of the canary's pods at once"
            yield BUDGET_COVERS_BOTH.at(where, said)
        if covered and _allowed(budget, sum(map(is_ready, _pods_of(survey, budget)))) <= 0:
            said = f"lets no pod of {' and '.join(side.side for side in covered)} be evicted: a drain waits for it"
            yield BUDGET_ALLOWS_NONE.at(where, said)


def _covers(budget: Object, side: Behind) -> bool:
    same = budget["metadata"].get("namespace") == side.namespace
    return same and any(_is_of(budget, pod) for pod in side.pods)


def _pods_of(survey: Survey, budget: Object) -> Iterator[Object]:
    yield from (pod for pod in survey.all(PODS, budget["metadata"].get("namespace") or "") if _is_of(budget, pod))


def _is_of(budget: Object, pod: Object) -> bool:
    """Whether the budget is for the pod; one without a selector is for none."""
    selector = spec_of(budget).get("selector")
    return selector is not None and _matches(selector, labels_of(pod))


def _matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a selector takes the labels; an empty one takes all (policy/v1)."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_meets(each, labels) for each in selector.get("matchExpressions") or ())


def _meets(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = expression.get("key") or "", expression.get("values") or ()
    match expression.get("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels


def _allowed(budget: Object, healthy: int) -> int:
    """How many pods may be evicted now, of ``healthy`` ones that are as many as there should be."""
    spec = spec_of(budget)
    if spec.get("maxUnavailable") is not None:
        return _count(spec["maxUnavailable"], healthy)
    return healthy - _count(spec.get("minAvailable") or 0, healthy)


def _count(value: Any, whole: int) -> int:
    """A number of pods, or a percentage of them, rounded up (Kubernetes: GetScaledValueFromIntOrPercent)."""
    text = str(value)
    return math.ceil(whole * int(text[:-1]) / 100) if text.endswith("%") else int(text)
