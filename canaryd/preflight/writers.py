"""
Who else writes: tools that set weights, selectors or subsets that a run relies on, before they have left a mark.

What has left its mark on the VirtualService (Flagger, Argo Rollouts, a GitOps tool) is found by admission. Sources:
Flagger, pkg/router/kubernetes_default.go and pkg/controller/scheduler.go; Argo Rollouts, rollout/service.go and
rollout/trafficrouting/istio; Kiali, frontend/src/components/IstioWizards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from canaryd.kube import DESTINATION_RULES, FIELD_MANAGER
from canaryd.mesh.admission import owned_by_flagger, rollout_moves, rules_in_force
from canaryd.mesh.hosts import fully_qualified
from canaryd.mesh.routing import namespace_of
from canaryd.model.finding import Code, Finding
from canaryd.preflight.kinds import CANARIES, ROLLOUTS
from canaryd.preflight.saying import named, patching
from canaryd.preflight.survey import Object, Survey, labels_of, name_of, spec_of

TITLE = "Who else writes"

FLAGGER_WAITS = Code(
    "FlaggerWouldOwn",
    "error",
    "A Canary of Flagger's has the Service, or the workload of a version, as its own: Flagger points the Service at a "
    "copy that it makes, scales the workload to nothing and writes a VirtualService and DestinationRules of its own.",
    "Let one of the two go: suspend the Canary (the command does), or delete it.",
)
ROLLOUT_SELECTS = Code(
    "RolloutSelects",
    "error",
    "An Argo Rollout has the Service of a version as its stable, canary, active or preview Service and writes its "
    "selector with every revision: the pods behind the version change without the Service's owner.",
    "Take the Service out of the Rollout's strategy, or let Argo Rollouts do the canary.",
)
ROLLOUT_SUBSETS = Code(
    "RolloutSubsets",
    "warning",
    "A subset has the label `rollouts-pod-template-hash`, which Argo Rollouts writes: with the next revision the "
    "subset means other pods.",
    "Use subsets with labels of your own; take `destinationRule` out of the Rollout's `trafficRouting.istio`.",
)
KIALI_WIZARD = Code(
    "KialiWizard",
    "warning",
    "The object was made by a wizard of Kiali's. Whoever opens the wizard again and saves rewrites the whole of it: "
    "weights, entries, and all that somebody has added since.",
    "Take the label off: without it Kiali shows the object and does not offer to rewrite it.",
)
OTHER_WRITER = Code(
    "OtherWriter",
    "info",
    "Somebody else than canaryd and people with kubectl has written `spec.http`, as the object's managedFields say. "
    "What writes again in mid-run changes the weights, and the run is held.",
    "See who it is; `docs/gitops.md` says how tools are made to leave weights alone.",
)

CODES = (FLAGGER_WAITS, ROLLOUT_SELECTS, ROLLOUT_SUBSETS, KIALI_WIZARD, OTHER_WRITER)
WIZARD = "kiali_wizard"
HASH = "rollouts-pod-template-hash"
PEOPLE = ("kubectl", "k9s", "Mozilla", "lens", "node-fetch", "before-first-apply", "kiali")
"""What the managers of a person's edit begin with; Kiali's edits are a person's, too."""
STRATEGIES = (
    ("canary", ("stableService", "canaryService")),
    ("blueGreen", ("activeService", "previewService")),
)


def check(survey: Survey) -> Iterator[Finding]:
    """What is said of others that write the route, its Services or its subsets."""
    if survey.virtual_service is None or survey.route is None:
        return
    yield from _flagger(survey, survey.virtual_service)
    yield from _rollouts(survey, survey.virtual_service)
    yield from _subsets(survey)
    yield from _wizard(survey, survey.virtual_service)
    yield from _writers(survey.virtual_service)


def _flagger(survey: Survey, virtual_service: Object) -> Iterator[Finding]:
    """Canaries of ours that are not suspended; what has marked the VirtualService is admission's."""
    if owned_by_flagger(virtual_service):
        return
    workloads = set()
    if survey.sides:
        workloads = {
            (side.namespace, one) for side in (survey.sides.stable, survey.sides.canary) for one in side.workloads
        }
    for canary in survey.all(CANARIES):
        spec, home = spec_of(canary), namespace_of(canary)
        target = str((spec.get("targetRef") or {}).get("name") or "")
        service = str((spec.get("service") or {}).get("name") or target)
        if spec.get("suspend") or not target:
            continue
        if (home, service) in survey.services:
            said = f"has Service {home}/{service} as its own, and so the host of a version"
        elif (home, target) in workloads:
            said = f"has the workload {home}/{target} of a version as its target, and would scale it to nothing"
        else:
            continue
        yield FLAGGER_WAITS.at(
            f"Canary {name_of(canary)}", said, patching(str(CANARIES), canary, {"spec": {"suspend": True}})
        )


def _rollouts(survey: Survey, virtual_service: Object) -> Iterator[Finding]:
    """Rollouts that write the selector of a Service of ours; those that move the weights are admission's."""
    home, name = namespace_of(virtual_service), virtual_service["metadata"]["name"]
    for rollout in survey.all(ROLLOUTS):
        if rollout_moves(rollout, home, name):
            continue
        strategies = spec_of(rollout).get("strategy") or {}
        for strategy, keys in STRATEGIES:
            written = strategies.get(strategy) or {}
            taken = {key: written[key] for key in keys if (namespace_of(rollout), written.get(key)) in survey.services}
            if taken:
                said = " and ".join(f"Service {one} as its {key}" for key, one in taken.items())
                yield ROLLOUT_SELECTS.at(
                    f"Rollout {name_of(rollout)}",
                    f"has {said}, and writes the selector with every revision",
                    _letting_go(rollout, strategy, written),
                )


def _letting_go(rollout: Object, strategy: str, written: Mapping[str, Any]) -> str:
    """The command that takes the Services out; a blue-green Rollout cannot do without its active one."""
    if strategy != "canary":
        return ""
    keys = ("trafficRouting", "stableService", "canaryService")
    operations = [
        {"op": "remove", "path": f"/spec/strategy/canary/{key}"} for key in keys if written.get(key) is not None
    ]
    return patching(str(ROLLOUTS), rollout, operations)


def _subsets(survey: Survey) -> Iterator[Finding]:
    if DESTINATION_RULES in survey.unread:
        return
    for version in survey.versions:
        host = fully_qualified(version.host, survey.namespace)
        for rule in rules_in_force(host, survey.namespace, survey.all(DESTINATION_RULES)):
            for subset in filter(None, spec_of(rule).get("subsets") or ()):
                ours = version.subset and subset.get("name") == version.subset
                if ours and HASH in (subset.get("labels") or {}):
                    said = f"subset {version.subset} is chosen by {HASH}, which Argo Rollouts writes"
                    yield ROLLOUT_SUBSETS.at(f"DestinationRule {name_of(rule)}", said)


def _wizard(survey: Survey, virtual_service: Object) -> Iterator[Finding]:
    rules = [
        rule for host in survey.hosts for rule in rules_in_force(host, survey.namespace, survey.all(DESTINATION_RULES))
    ]
    for kind, found in (("VirtualService", virtual_service), *(("DestinationRule", rule) for rule in rules)):
        if made := labels_of(found).get(WIZARD):
            yield KIALI_WIZARD.at(
                f"{kind} {name_of(found)}",
                f"made by Kiali's wizard {made}: an update by the wizard rewrites all of it",
                f"kubectl label {named(kind.lower(), found)} {WIZARD}-",
            )


def _writers(virtual_service: Object) -> Iterator[Finding]:
    for entry in virtual_service["metadata"].get("managedFields") or ():
        manager, fields = str(entry.get("manager") or ""), entry.get("fieldsV1") or {}
        if entry.get("subresource") or "f:http" not in (fields.get("f:spec") or {}):
            continue
        if manager == FIELD_MANAGER or manager.startswith(PEOPLE):
            continue
        how = "applies" if entry.get("operation") == "Apply" else "has written"
        yield OTHER_WRITER.at(
            f"VirtualService {name_of(virtual_service)}",
            f"{manager or 'somebody'} {how} spec.http, last at {entry.get('time') or 'an unknown time'}",
            level="warning" if how == "applies" else None,
        )
