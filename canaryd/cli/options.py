"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PlanFile = Annotated[Path, typer.Argument(metavar="PLAN", help="A rollout plan (YAML).")]
Kubeconfig = Annotated[Path | None, typer.Option(help="A kubeconfig file.", show_default="$KUBECONFIG or the pod's")]
Context = Annotated[str | None, typer.Option(help="The context in the kubeconfig.", show_default="its current one")]
Namespace = Annotated[
    str,
    typer.Option(
        "--namespace", "-n", metavar="NS", help="In the cluster: this namespace.", show_default="the context's"
    ),
]
Everywhere = Annotated[bool, typer.Option("--all-namespaces", "-A", help="In the cluster: every namespace.")]
InFolder = Annotated[
    Path | None,
    typer.Option(
        "--state",
        help="The state folder of canaryd run and serve, instead of a cluster.",
        show_default="$CANARYD_STATE; .canaryd if it holds runs",
    ),
]
PrometheusUrl = Annotated[
    str | None,
    typer.Option(
        "--prometheus",
        help="The URL under which /api/v1/query answers.",
        show_default="$CANARYD_PROMETHEUS or http://prometheus.istio-system:9090",
    ),
]
State = Annotated[
    Path | None,
    typer.Option(help="The state folder: where runs and journals are kept.", show_default="$CANARYD_STATE or .canaryd"),
]
Policies = Annotated[
    Path | None,
    typer.Option(
        help="A folder of policies (*.yaml), which plans are laid over.", show_default="$CANARYD_POLICIES or none"
    ),
]
Config = Annotated[Path | None, typer.Option(help="A file with settings, like config/canaryd.yaml.")]
