"""
Which GitOps tool keeps a VirtualService as it is in Git, by the marks that it leaves, and how it is told to let be.

``docs/gitops.md`` has the recipes that last; what is said here can be typed before a run. Sources: Argo CD, docs
resource_tracking.md; Flux, docs/spec/v1/kustomizations.md (Controlling the apply behavior of resources; the annotation
on the object in the cluster counts, too) and helmreleases.md (Ignore annotation).
"""

from __future__ import annotations

from canaryd.mesh.entries import Object
from canaryd.model import codes
from canaryd.model.finding import Finding

ARGO_CD = ("argocd.argoproj.io/tracking-id", "argocd.argoproj.io/instance")
KUSTOMIZATION = "kustomize.toolkit.fluxcd.io"
HELM_RELEASE = "helm.toolkit.fluxcd.io"
LETS_BE = (("reconcile", "disabled"), ("ssa", "IfNotPresent"), ("ssa", "Ignore"))
"""What on an object makes Flux leave it as it is."""


def keepers(virtual_service: Object) -> list[Finding]:
    """What is said of each tool that keeps the object; a tool that has been told to let it be is not mentioned."""
    meta = virtual_service["metadata"]
    marks = {**(meta.get("labels") or {}), **(meta.get("annotations") or {})}
    where = f"VirtualService {meta.get('namespace') or 'default'}/{meta['name']}"
    annotate = f"kubectl annotate virtualservice {meta['name']} -n {meta.get('namespace') or 'default'} --overwrite"
    found = []
    if application := next((marks[key] for key in ARGO_CD if marks.get(key)), ""):
        said = (
            f"is kept by a GitOps tool, Application {application.partition(':')[0]} of Argo CD: with selfHeal it puts "
            "the weights back in mid-run, unless its ignoreDifferences have them"
        )
        found.append(codes.GITOPS.at(where, said, level="info"))
    if (name := marks.get(f"{KUSTOMIZATION}/name")) and not any(
        marks.get(f"{KUSTOMIZATION}/{key}") == value for key, value in LETS_BE
    ):
        said = (
            f"is kept by a GitOps tool, Kustomization {name} of Flux: it puts the weights back at its next "
            "reconciliation, unless it ignores spec.http; the command makes it leave the whole object alone"
        )
        found.append(codes.GITOPS.at(where, said, f"{annotate} {KUSTOMIZATION}/reconcile=disabled"))
    release = marks.get(f"{HELM_RELEASE}/name")
    if release and marks.get(f"{HELM_RELEASE}/driftDetection") != "disabled":
        said = (
            f"is kept by a GitOps tool, HelmRelease {release} of Flux: with driftDetection it puts the weights back "
            "in mid-run"
        )
        found.append(codes.GITOPS.at(where, said, f"{annotate} {HELM_RELEASE}/driftDetection=disabled"))
    if marks.get("app.kubernetes.io/managed-by") == "Helm" and not (application or release):
        said = "belongs to a release of Helm: an upgrade that changes spec.http writes the weights, too"
        found.append(codes.GITOPS.at(where, said, level="info"))
    return found


def keeping(found: Object) -> tuple[str, ...]:
    """The GitOps tools that keep an object of any kind as it is in Git, in words."""
    meta = found["metadata"]
    marks = {**(meta.get("labels") or {}), **(meta.get("annotations") or {})}
    named = []
    if application := next((marks[key] for key in ARGO_CD if marks.get(key)), ""):
        named.append(f"Application {application.partition(':')[0]} of Argo CD")
    if kustomization := marks.get(f"{KUSTOMIZATION}/name"):
        named.append(f"Kustomization {kustomization} of Flux")
    if release := marks.get(f"{HELM_RELEASE}/name"):
        named.append(f"HelmRelease {release} of Flux")
    return tuple(named)
