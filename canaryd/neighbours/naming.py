"""
PURE: how a run's versions are called in spans, and which spans are the canary's.

All versions have one service name, so that the version is in a span's tags: the pod in ``node_id`` is exact, since its
name has the pod template's hash that the run has pinned; the revision is what can be searched for, and only a guess,
for a subset is usually named after its pods' version but need not be.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from canaryd.model.hosts import fully_qualified
from canaryd.model.run import Run

REVISION = "istio.canonical_revision"
ERROR: Mapping[str, str] = {"error": "true"}
"""The tag by which a proxy marks a failure."""


def service_of(run: Run) -> tuple[str, str]:
    """Name and namespace of the service that clients call; a host elsewhere than in the cluster has no namespace."""
    name, _, rest = run.plan.called.partition(".")
    namespace, _, domain = rest.partition(".")
    return (name, namespace) if domain.startswith("svc.") else (run.plan.called, "")


def services_of(run: Run) -> tuple[str, ...]:
    """
    What the canary's proxies may call themselves in spans, the likeliest first.

    That is the pods' app, which is nearly always the service's name, with the namespace (Istio's default) or without.
    """
    hosts = (run.plan.called, fully_qualified(run.route.canary.host, run.route.namespace))
    apps = [host.partition(".")[0] for host in hosts] + list(run.canary_pin.workloads if run.canary_pin else ())
    namespace = run.canary_pin.namespace if run.canary_pin else service_of(run)[1] or run.plan.namespace
    return tuple(dict.fromkeys(name for app in apps for name in (f"{app}.{namespace}", app)))


def known_as(run: Run, services: Collection[str] | None) -> str:
    """The name that is in ``services``, or the likeliest where it is not known which there are; empty for none."""
    names = services_of(run)
    if services is None:
        return names[0]
    return next((name for name in names if name in services), "")


def revision_of(run: Run) -> str:
    """What its pods' version is called, as far as the plan tells; empty where a version is a whole host."""
    return run.route.canary.subset


def is_canary_s(run: Run, node_id: str, revision: str) -> bool:
    """Whether a span with these tags is by a proxy of the canary's; ``node_id`` has the pod, where there is one."""
    pin, parts = run.canary_pin, node_id.split("~")
    if pin is not None and len(parts) == 4:
        pod, _, namespace = parts[2].rpartition(".")
        heads = tuple(f"{name}-{template}-" for name in pin.workloads for template in pin.hashes)
        heads = heads or tuple(f"{name}-" for name in pin.workloads)
        return namespace == pin.namespace and pod.startswith(heads)
    return bool(revision) and revision == revision_of(run)
