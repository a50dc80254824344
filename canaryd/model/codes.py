"""
The codes of what admission finds: why a plan may not start on the objects as they are, and what to know if it may.

They are found where weights are read and before each run, with preflight or without; what preflight finds beyond them
has its codes beside its checks (``canaryd/preflight/``).
"""

from __future__ import annotations

from canaryd.model.finding import Code

TITLE = "What a run needs to begin"

# The objects, and the right to them

KUBERNETES_AWAY = Code(
    "KubernetesUnreachable",
    "error",
    "The Kubernetes API does not answer, so nothing can be said of the mesh.",
    "See that the API server answers under the kubeconfig that canaryd was given.",
    transient=True,
)
RIGHT_MISSING = Code(
    "RightMissing",
    "error",
    "canaryd's account lacks a right without which a run could not be carried out; each verb is asked for by itself.",
    "Grant it: the command makes a Role and its binding; in a cluster the chart's roles have all of them.",
)
VIRTUAL_SERVICE_MISSING = Code(
    "VirtualServiceMissing",
    "error",
    "There is no VirtualService of the plan's name in the plan's namespace.",
    "Name one that is there, or apply it; a VirtualService elsewhere needs a plan in its namespace.",
)
SERVICE_MISSING = Code(
    "ServiceMissing",
    "error",
    "The host of a version is no Service of this cluster, so canaryd cannot see the pods behind it.",
    "Name the host of a Service that selects the pods.",
)
SERVICE_WITHOUT_SELECTOR = Code(
    "ServiceWithoutSelector",
    "error",
    "The Service of a version selects no pods (its endpoints are kept by somebody else).",
    "Give it a selector; without one nobody can say which pods serve a version.",
)

# The entry

SAME_VERSION = Code(
    "SameVersion", "error", "Stable and canary are one and the same version.", "Name another version as the canary."
)
NO_HTTP_ENTRY = Code(
    "NoHttpEntry",
    "error",
    "The VirtualService has tls or tcp entries only; canaryd moves the weights of http entries.",
    "Name a VirtualService with an http entry.",
)
ROUTE_UNKNOWN = Code(
    "RouteUnknown",
    "error",
    "The plan names an http entry that the VirtualService has not.",
    "Name an entry that is there, or give the entry this name.",
)
ROUTE_AMBIGUOUS = Code(
    "RouteAmbiguous",
    "error",
    "Several http entries fit what the plan says, or have the name that it gives.",
    "Give each entry a name of its own and list in `target.routes` those that shall move together.",
)
ROUTE_TWICE = Code("RouteTwice", "error", "The plan lists an http entry twice.", "Take it out once.")
HOST_NOT_IN_ROUTE = Code(
    "HostNotInRoute",
    "error",
    "No http entry of the VirtualService sends to the plan's host.",
    "Name the host as a destination of the VirtualService does.",
)
STABLE_NOT_IN_ROUTE = Code(
    "StableNotInRoute",
    "error",
    "No http entry of the VirtualService sends to stable, so there is nowhere to come from and to go back to.",
    "Name the version that has the traffic, or add it as a destination.",
)
STABLE_UNCLEAR = Code(
    "StableUnclear",
    "error",
    "The plan leaves stable out, and no single version holds all the traffic.",
    "Say which version is stable.",
)
DELEGATES = Code(
    "DelegatesElsewhere",
    "error",
    "The entry hands over to a delegate; the weights are in the delegate.",
    "Name the delegate's VirtualService in the plan.",
)
NO_WEIGHTS = Code(
    "NoWeights",
    "error",
    "The entry redirects, answers by itself or has no route: there are no weights to move.",
    "Name an entry that has destinations.",
)
DESTINATION_TWICE = Code(
    "DestinationTwice",
    "error",
    "An entry has the same version twice among its destinations; a weight would be two numbers.",
    "Merge the two destinations into one.",
)
FOREIGN_DESTINATION = Code(
    "ForeignDestination",
    "error",
    "A third version takes traffic in the entry; its share is nobody's to give.",
    "Give its share to stable, or take the destination out.",
)
FAULT_INJECTED = Code(
    "FaultInjected",
    "error",
    "The entry injects faults (aborts or delays), which would be counted as the versions' own.",
    "Take the fault out while the run lasts.",
)
MATCH_CONFLICT = Code(
    "MatchConflict",
    "error",
    "The plan's entry asks for a header that a step's match asks for as well, with another value: no one match can "
    "ask for both.",
    "Match by another header, or by a cookie.",
)
ENTRY_SHADOWED = Code(
    "EntryShadowed",
    "error",
    "An earlier entry takes every request, so that the plan's entry is never reached (Istio: IST0130).",
    "Move the catch-all to the end, or name that entry in the plan.",
)
OTHER_WAY = Code(
    "OtherWay",
    "error",
    "Requests reach a version by another way than the plan's entries (another entry, another VirtualService, a "
    "mirror): then stable and canary serve different people, and comparing them compares people.",
    "List the entry in `target.routes`, take the other way out while the run lasts, or judge by objectives alone.",
)
NO_SPLIT = Code(
    "NoSplit",
    "error",
    "The weights amount to no split between stable and canary: the entries disagree, or a destination is gone.",
    "Give every entry of the plan the same weights.",
)
NOT_AT_STABLE = Code(
    "NotAtStable",
    "error",
    "The canary has traffic already, so that a rollback to nothing would change what somebody decided.",
    "Give stable everything (the command does), or start from where it stands: `start: {from: current}`.",
)
ALREADY_THERE = Code(
    "AlreadyAtCanary",
    "error",
    "The canary holds all the traffic: there is nothing to shift.",
    "Nothing is left to do; for another release name the new version as canary and this one as stable.",
)
PATCH_REFUSED = Code(
    "PatchRefused",
    "error",
    "The API server, or a webhook of the mesh, refuses the patch of the first step in a dry run.",
    "Correct what it objects to; what it said is in the finding.",
)

# Who else is there

CLAIMED = Code(
    "Claimed",
    "error",
    "Another run works on these entries, or has left its marker there.",
    "Wait for its end or abort it; take the marker off only where the run is gone for good.",
)
FLAGGER = Code(
    "FlaggerOwns",
    "error",
    "Flagger sets the weights of this VirtualService; two that set them undo each other's work.",
    "Let one of the two go: delete the Canary, and then the mark that it left.",
)
ARGO_ROLLOUTS = Code(
    "ArgoRolloutsOwns",
    "error",
    "Argo Rollouts sets the weights of this VirtualService.",
    "Let one of the two go: take `trafficRouting` out of the Rollout, and then the mark that it left.",
)
GITOPS = Code(
    "GitOpsKeeps",
    "warning",
    "A GitOps tool keeps this VirtualService as it is in Git, and may put the weights back in mid-run. It is a warning "
    "for a Kustomization of Flux, which does so whenever it reconciles; what Argo CD ignores cannot be seen "
    "from here.",
    "Let it ignore the weights of `spec.http`: `docs/gitops.md` has the lines for Argo CD, Flux and Helm. Flux can be "
    "made to leave the object alone for as long as a run lasts; the same annotation with `-` behind it ends that.",
)

# The versions

SUBSET_MISSING = Code(
    "SubsetMissing",
    "error",
    "The DestinationRule that is in force has no such subset; requests to it fail with 503 (NC).",
    "Add the subset, or name one that is there.",
)
SUBSET_MISSING_FOR_CLIENTS = Code(
    "SubsetMissingForClients",
    "error",
    "A DestinationRule in a client's namespace takes the place of the service's, and lacks the subset: that "
    "namespace's clients get 503 (NC) for it.",
    "Add the subset there too, or delete the rule, so that the service's own is in force again.",
)
NO_READY_PODS = Code(
    "NoReadyPods",
    "error",
    "A version selects no ready pod, and nothing says that there will be one.",
    "Scale its Deployment up, or correct the labels.",
)
NOT_READY_YET = Code(
    "NotReadyYet",
    "warning",
    "The canary's pods are on their way; the run begins and waits for them before it moves anything.",
    "Wait; the finding says what the Deployment is waiting for.",
    transient=True,
)
PODS_IN_BOTH = Code(
    "PodsInBoth",
    "error",
    "Pods belong to both versions: what one serves would be counted for the other too.",
    "Give the subsets labels that tell the pods apart.",
)
SHARED_WORKLOAD = Code(
    "SharedWorkload",
    "error",
    "Both versions are pods of one workload, and Istio's metrics name workloads: they could not be told apart.",
    "Give the canary a Deployment of its own.",
)

# What bends the evidence

RETRIES = Code(
    "RetriesHideFailures",
    "info",
    "The entry retries: callers see fewer failures than the versions produce.",
    "Nothing; the report says how many attempts a request took.",
)
TIMEOUT = Code(
    "TimeoutCuts",
    "info",
    "The entry has a timeout: a version that is slower than that fails.",
    "Nothing; such failures are counted as 504 (UT).",
)
MIRRORS = Code(
    "MirrorLoads",
    "info",
    "The entry mirrors requests: the copies load their host beside its own traffic, and no caller waits for them.",
    "Nothing, unless the mirror is one of the two versions.",
)
IDLE_DESTINATION = Code(
    "IdleDestination",
    "info",
    "The entry names a further version without traffic; canaryd leaves it as it is.",
    "Nothing.",
)
NOT_ALL_SEARCHED = Code(
    "NotAllSearched",
    "info",
    "canaryd may not list all namespaces, so that another way to the versions may be overlooked.",
    "Grant it `list` on the kind in all namespaces (the chart's cluster-wide role does).",
)
NOT_REHEARSED = Code(
    "NotRehearsed",
    "info",
    "The first step's patch could not be sent as a dry run, so that schema and webhooks have not seen it.",
    "Nothing; a patch that is refused later holds the run and moves nothing.",
)
CHANGED = Code(
    "ChangedMeanwhile",
    "info",
    "The VirtualService was changed while it was looked at.",
    "Look again.",
    transient=True,
)
BESIDE = Code(
    "OnlyObserving",
    "info",
    "The plan only observes, so that what would stop an active run is only said.",
    "Nothing, until the plan is made active.",
)

# Prometheus

PROMETHEUS_AWAY = Code(
    "PrometheusUnreachable",
    "error",
    "Prometheus does not answer, or not as one: nothing could be measured.",
    "See that it answers under the URL in canaryd's settings; `docs/prometheus.md` has the recipes.",
    transient=True,
)
PROMETHEUS_BARRED = Code(
    "PrometheusBarred",
    "error",
    "The plan names a Prometheus that the settings do not have, or that plans of its namespace may not be measured by.",
    "Leave `spec.analysis.prometheus` out, or add the name, or the namespace, to `prometheuses` in the settings.",
)
WEBHOOK_BARRED = Code(
    "WebhookBarred",
    "error",
    "The plan names a webhook that the settings do not have, or that plans of its namespace may not ask; or its key "
    "cannot be read. A gate that could ask nobody would hold until its limit.",
    "Take it out of the plan's gates, or add the name, or the namespace, to `webhooks` in the settings.",
)
CHANNEL_BARRED = Code(
    "ChannelBarred",
    "error",
    "The plan names a channel that the settings do not have, or that plans of its namespace may not use; or its "
    "address or key cannot be used. Nobody would hear of the run.",
    "Take it out of the plan's `messages`, or add the name, or the namespace, to `channels` in the settings.",
)
CLOCK_SKEW = Code(
    "ClockSkew",
    "error",
    "canaryd's clock and Prometheus's are more than 5 s apart: counts would be of other moments than thought.",
    "Synchronise both machines' clocks (NTP).",
)
NO_SERIES = Code(
    "NoSeries",
    "error",
    "Prometheus knows no requests to the service from the last hour: no traffic, no sidecar at the clients, or they "
    "are not scraped.",
    "Send requests from a client with a sidecar or through a gateway, and see that the clients' proxies are scraped.",
    transient=True,
)
LABEL_MISSING = Code(
    "LabelMissing",
    "error",
    "The series lack a label by which versions are told apart; a Telemetry object takes it off.",
    "Take the override out of the Telemetry object.",
)
SCRAPED_TOO_SELDOM = Code(
    "ScrapedTooSeldom",
    "error",
    "The clients' proxies are scraped less often than the plan says, so that cells would be empty.",
    "Set `spec.analysis.scrape` to the interval that was found, and `spec.analysis.cell` to that or more.",
)

CODES = tuple(each for each in globals().values() if isinstance(each, Code))
