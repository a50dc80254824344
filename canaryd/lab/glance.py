"""
A running lab at one moment, as plain data: what its control server answers and what its pictures are drawn from.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from canaryd.lab.lab import Lab

Json = dict[str, Any]


def standing(lab: Lab) -> Json:
    """What was asked for and what is on: weights, faults, pods, parts, the run that works on it."""
    return {
        "api": "running" if lab.api_running else "stopped",
        "prometheus": "running" if lab.prometheus.running else "stopped",
        "controller": lab.controller.standing if lab.controller else None,
        "rps": lab.load.rps,
        "protocol": lab.load.protocol,
        "weights": lab.weights(),
        "faultsOn": {
            version: fault.beside_healthy(lab.faults.healthy(version)) for version, fault in lab.faults.all().items()
        },
        "pods": lab.pods(),
        "run": lab.run(),
        "seconds": round(lab.seconds, 1),
        "problem": lab.control_plane.problem,
    }


def everything(lab: Lab) -> Json:
    """What stands, with every place and every stream."""
    return {
        **standing(lab),
        "directory": str(lab.directory),
        "kubeconfig": str(lab.kubeconfig),
        "prometheusUrl": lab.prometheus_url,
        "gatewayUrl": lab.gateway_url,
        **_of_controller(lab),
        "vantage": vantage(lab),
        "streams": {name: {"rps": each.rps, **each.counts().as_json()} for name, each in lab.streams.items()},
        "shares": lab.shares(),
        "faults": {version: dataclasses.asdict(fault) for version, fault in lab.faults.all().items()},
    }


def _of_controller(lab: Lab) -> Json:
    """Where canaryd's own controller is, where there is one."""
    found = lab.controller
    if found is None:
        return {}
    return {
        "controllerUrl": found.url,
        "controllerPid": found.pid,
        "controllerRestarts": found.restarts,
        "controllerLog": str(found.log),
        "plan": str(lab.plan_file),
    }


def vantage(lab: Lab) -> dict[str, dict[str, str]]:
    """Where requests can be sent from: name -> port in the mesh -> address on this machine."""
    return {
        name: {str(port): f"{host}:{here}" for port, (host, here) in each.ports.items()}
        for name, each in lab.vantage.items()
    }


def books(lab: Lab) -> Json:
    """The clients' books with every latency, for whoever takes the difference of two, and the last minute's seconds."""
    counts = lab.counts()
    versions = {
        version: {"answered": tally.answered, "failed": tally.failed, "byMillisecond": dict(tally.by_millisecond)}
        for version, tally in counts.by_version.items()
    }
    return {"lost": counts.lost, "byVersion": versions, "seconds": lab.load.seconds(61)[:-1]}
