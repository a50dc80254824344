"""
The fields that Flagger's and Argo Rollouts' objects have, by their own definitions.

A list is a list of names, not of anybody's text. ``[]`` are the items of a list, ``{}`` the values of a map; a field of
which canaryd needs no part (a pod's template, an Istio match) is listed once. Where they were read, in 2026:

* Flagger, artifacts/flagger/crd.yaml (with ``unmanagedMetadata`` and ``trafficDistribution``, so 1.44 or near it);
  ``canaryAnalysis`` is the older name that pkg/apis/flagger/v1beta1/canary.go still reads.
* Argo Rollouts, pkg/apis/rollouts/v1alpha1/types.go and analysis_types.go, docs/features/specification.md; what came
  since (``plugin``, ``additionalSubsetNames``, ``consecutiveSuccessLimit``, ``replicaProgressThreshold``, templates in
  templates) by the documentation of 1.9.
"""

from __future__ import annotations


def names(text: str) -> list[str]:
    """Each word of it."""
    return text.split()


ANALYSIS = names("""
interval iterations threshold maxWeight stepWeight stepWeights[] stepWeightPromotion mirror mirrorWeight
primaryReadyThreshold canaryReadyThreshold
match[].headers match[].queryParams match[].sourceLabels
metrics[].name metrics[].interval metrics[].threshold metrics[].thresholdRange.min metrics[].thresholdRange.max
metrics[].query metrics[].templateRef.name metrics[].templateRef.namespace metrics[].templateVariables
alerts[].name alerts[].severity alerts[].providerRef.name alerts[].providerRef.namespace
webhooks[].name webhooks[].type webhooks[].muteAlert webhooks[].url webhooks[].timeout webhooks[].retries
webhooks[].disableTLS webhooks[].metadata
sessionAffinity.cookieName sessionAffinity.primaryCookieName sessionAffinity.domain sessionAffinity.httpOnly
sessionAffinity.maxAge sessionAffinity.partitioned sessionAffinity.path sessionAffinity.sameSite sessionAffinity.secure
""")

CANARY = [
    *names("""
spec.provider spec.metricsServer spec.progressDeadlineSeconds
spec.targetRef.apiVersion spec.targetRef.kind spec.targetRef.name
spec.autoscalerRef.apiVersion spec.autoscalerRef.kind spec.autoscalerRef.name
spec.autoscalerRef.primaryScalerQueries spec.autoscalerRef.primaryScalerReplicas.minReplicas
spec.autoscalerRef.primaryScalerReplicas.maxReplicas
spec.ingressRef spec.routeRef spec.upstreamRef
spec.service.name spec.service.port spec.service.portName spec.service.appProtocol spec.service.trafficDistribution
spec.service.targetPort spec.service.portDiscovery spec.service.headless spec.service.timeout
spec.service.backendTimeout spec.service.meshName spec.service.backends spec.service.hosts spec.service.delegation
spec.service.match spec.service.retries spec.service.rewrite spec.service.mirror spec.service.headers
spec.service.gateways spec.service.gatewayRefs spec.service.corsPolicy spec.service.trafficPolicy
spec.service.apex spec.service.primary spec.service.canary spec.service.unmanagedMetadata
spec.skipAnalysis spec.revertOnDeletion spec.suspend
status.phase status.failedChecks status.canaryWeight status.iterations status.trackedConfigs status.lastAppliedSpec
status.lastPromotedSpec status.lastTrackedRevision status.lastTransitionTime status.sessionAffinityCookie
status.primarySessionAffinityCookie status.previousSessionAffinityCookie status.conditions
"""),
    *(f"spec.analysis.{field}" for field in ANALYSIS),
    *(f"spec.canaryAnalysis.{field}" for field in ANALYSIS),
]
METRIC_TEMPLATE = names("""
spec.provider.type spec.provider.address spec.provider.headers spec.provider.secretRef.name spec.provider.region
spec.provider.insecureSkipVerify spec.query
""")
ALERT_PROVIDER = names("spec.type spec.channel spec.username spec.address spec.proxy spec.secretRef.name")

RUN = names("""
templates[].templateName templates[].clusterScope
args[].name args[].value args[].valueFrom.podTemplateHashValue args[].valueFrom.fieldRef.fieldPath
dryRun[].metricName measurementRetention[].metricName measurementRetention[].limit
analysisRunMetadata.labels analysisRunMetadata.annotations
""")
ROLLOUT = [
    *names("""
spec.replicas spec.selector spec.template spec.workloadRef.apiVersion spec.workloadRef.kind spec.workloadRef.name
spec.workloadRef.scaleDown spec.minReadySeconds spec.rollbackWindow.revisions spec.revisionHistoryLimit spec.paused
spec.progressDeadlineSeconds spec.progressDeadlineAbort spec.restartAt spec.analysis.successfulRunHistoryLimit
spec.analysis.unsuccessfulRunHistoryLimit status.phase status.conditions status.currentStepIndex
"""),
    *(
        f"spec.strategy.canary.{field}"
        for field in names("""
canaryService stableService maxUnavailable maxSurge antiAffinity canaryMetadata.labels stableMetadata.annotations
scaleDownDelaySeconds scaleDownDelayRevisionLimit abortScaleDownDelaySeconds dynamicStableScale pingPong.pingService
pingPong.pongService minPodsPerReplicaSet replicaProgressThreshold analysis.startingStep
trafficRouting.nginx trafficRouting.alb trafficRouting.smi trafficRouting.ambassador trafficRouting.appMesh
trafficRouting.traefik trafficRouting.apisix trafficRouting.plugins trafficRouting.maxTrafficWeight
trafficRouting.managedRoutes[].name
trafficRouting.istio.virtualService.name trafficRouting.istio.virtualService.routes[]
trafficRouting.istio.virtualService.tlsRoutes[].port trafficRouting.istio.virtualService.tlsRoutes[].sniHosts
trafficRouting.istio.virtualService.tcpRoutes[].port
trafficRouting.istio.virtualServices[].name trafficRouting.istio.virtualServices[].routes[]
trafficRouting.istio.virtualServices[].tlsRoutes[].port trafficRouting.istio.virtualServices[].tlsRoutes[].sniHosts
trafficRouting.istio.virtualServices[].tcpRoutes[].port
trafficRouting.istio.destinationRule.name trafficRouting.istio.destinationRule.canarySubsetName
trafficRouting.istio.destinationRule.stableSubsetName trafficRouting.istio.destinationRule.additionalSubsetNames
steps[].setWeight steps[].pause.duration
steps[].setCanaryScale.weight steps[].setCanaryScale.replicas steps[].setCanaryScale.matchTrafficWeight
steps[].setHeaderRoute.name steps[].setHeaderRoute.match steps[].setMirrorRoute.name steps[].setMirrorRoute.match
steps[].setMirrorRoute.percentage steps[].plugin.name steps[].plugin.config
steps[].experiment.templates steps[].experiment.duration steps[].experiment.analyses steps[].experiment.dryRun
steps[].experiment.analysisRunMetadata
""")
    ),
    *(f"spec.strategy.canary.analysis.{field}" for field in RUN),
    *(f"spec.strategy.canary.steps[].analysis.{field}" for field in RUN),
]
ANALYSIS_TEMPLATE = names("""
spec.args[].name spec.args[].value spec.args[].valueFrom.secretKeyRef.name spec.args[].valueFrom.secretKeyRef.key
spec.dryRun[].metricName spec.measurementRetention[].metricName spec.templates[].templateName
spec.templates[].clusterScope
spec.metrics[].name spec.metrics[].interval spec.metrics[].initialDelay spec.metrics[].count
spec.metrics[].successCondition spec.metrics[].failureCondition spec.metrics[].failureLimit
spec.metrics[].inconclusiveLimit spec.metrics[].consecutiveErrorLimit spec.metrics[].consecutiveSuccessLimit
spec.metrics[].provider.prometheus.address spec.metrics[].provider.prometheus.query
spec.metrics[].provider.prometheus.timeout spec.metrics[].provider.prometheus.insecure
spec.metrics[].provider.prometheus.headers spec.metrics[].provider.prometheus.authentication
spec.metrics[].provider.prometheus.rangeQuery
spec.metrics[].provider.job spec.metrics[].provider.web spec.metrics[].provider.kayenta
spec.metrics[].provider.datadog spec.metrics[].provider.wavefront spec.metrics[].provider.newRelic
spec.metrics[].provider.cloudWatch spec.metrics[].provider.graphite spec.metrics[].provider.influxdb
spec.metrics[].provider.skywalking spec.metrics[].provider.plugin
""")
METADATA = names("""
metadata.name metadata.namespace metadata.labels metadata.annotations metadata.uid metadata.resourceVersion
metadata.generation metadata.creationTimestamp metadata.managedFields metadata.finalizers metadata.ownerReferences
metadata.deletionTimestamp
""")
