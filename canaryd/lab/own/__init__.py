"""
Your own objects in the lab: read as they are kept in Git or exported from a cluster, completed, and called.

`reading` takes what matters for traffic out of files and says what it passed over; `completing` invents the Services
and Deployments that other files of yours would hold; `calling` finds a request that the plan's entry answers; `setting`
makes a scene of all that; `figures` and `pace` bring your traffic and your plan to the lab's measure.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from canaryd.lab import bookinfo
from canaryd.lab.own.calling import request_for
from canaryd.lab.own.completing import completed
from canaryd.lab.own.reading import Own, read
from canaryd.lab.own.setting import scene_of
from canaryd.lab.scene import Scene
from canaryd.model.plan import Plan, read_plan
from canaryd.model.problem import Problem, Refused


def set_scene(
    place: Path, plan: Path | None = None, *, path: str = "", headers: Mapping[str, str] | None = None
) -> tuple[Scene, Plan, tuple[str, ...]]:
    """
    The scene of the objects in `place`, the plan that moves one of them, and what is not as it was written.

    `plan` is a file; by default the one CanaryPlan that is among the objects. `path` and `headers` shape the requests.
    Raises Refused with every problem.
    """
    own = completed(read(place))
    chosen = _in_file(plan) if plan else _only_one(own, place)
    return scene_of(own, chosen, request_for(chosen, own, path=path, headers=headers)), chosen, own.notes


def set_scene_of(
    plan: Path, place: Path | None = None, *, path: str = "", headers: Mapping[str, str] | None = None
) -> tuple[Scene, Plan, tuple[str, ...], tuple[str, ...]]:
    """
    The scene of a plan's file, with the plan, notes, and the workloads of its present version as Istio reports them.

    Objects are those of `place`, by default of the plan's folder; where there are none and the plan moves Bookinfo's
    reviews, it is the lab's usual scene. Raises Refused with every problem.
    """
    chosen = _in_file(plan)
    if place is None and not _has_routes(plan.parent):
        if (chosen.namespace, chosen.spec.target.virtual_service) != (bookinfo.NAMESPACE, bookinfo.SERVICE):
            raise Refused(
                [
                    Problem(
                        str(plan.parent),
                        "no VirtualService",
                        f"VirtualService {chosen.namespace}/{chosen.spec.target.virtual_service}, which the plan moves",
                        "say where your objects are: --from DIR, or: kubectl get "
                        "virtualservices,destinationrules,services,deployments,gateways.networking.istio.io "
                        f"-n {chosen.namespace} -o yaml "
                        "| canaryd lab try PLAN --from -",
                    )
                ]
            )
        return bookinfo.scene(), chosen, (), (bookinfo.workload(bookinfo.VERSIONS[0]),)
    scene, chosen, notes = set_scene(place or plan.parent, plan, path=path, headers=headers)
    stable = next(iter(scene.versions))
    deployment = scene.deployment(stable)
    return scene, chosen, notes, (deployment["metadata"]["name"],) if deployment else ()


def _has_routes(folder: Path) -> bool:
    try:
        return bool(read(folder).of("VirtualService"))
    except Refused:
        return False


def _in_file(plan: Path) -> Plan:
    try:
        return read_plan(plan.read_text(encoding="utf-8"), str(plan))
    except (OSError, UnicodeDecodeError) as error:
        raise Refused([Problem(str(plan), "", f"a plan that can be read ({error})")]) from error


def _only_one(own: Own, place: Path) -> Plan:
    if len(own.plans) == 1:
        return own.plans[0]
    names = ", ".join(plan.name for plan in own.plans)
    raise Refused(
        [
            Problem(
                str(place),
                f"{len(own.plans)} plans ({names})" if names else "no CanaryPlan",
                "one plan: it says which service is on trial, and which versions",
                "name its file: --plan FILE",
            )
        ]
    )
