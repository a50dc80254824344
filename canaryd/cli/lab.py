"""``canaryd lab``: a mesh on this machine to learn and to try."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from canaryd.cli.exits import Exit

lab = typer.Typer(help="A small real mesh on this machine: Envoy, Prometheus, a Kubernetes API.", no_args_is_help=True)

Rps = Annotated[float, typer.Option(help="Requests a second that the lab's client sends.", min=1, max=2000)]
Seed = Annotated[int, typer.Option(help="Of the client's random arrivals.")]


def _needs_the_extra() -> None:
    from canaryd.cli.output import stop

    try:
        import aiohttp  # noqa: F401
        import envoy  # noqa: F401
        import jsonpatch  # noqa: F401
    except ImportError as error:
        remedy = "in a checkout: pip install '.[lab]'; elsewhere: pip install 'istio-canaryd[lab]'"
        raise stop(Exit.USAGE, f"canaryd lab needs its extra ({error.name}), {remedy}") from error


@lab.command()
def up(
    rps: Rps = 300,
    seed: Seed = 0,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when it is ready.")] = False,
    directory: Annotated[Path | None, typer.Option(help="Where it keeps its files.", show_default="a new one")] = None,
) -> None:
    """Bring up the lab: Bookinfo's reviews behind a real Envoy, measured by a real Prometheus, under traffic."""
    _needs_the_extra()
    from canaryd.cli.output import explained
    from canaryd.lab import supervisor

    def announce(state: supervisor.State) -> None:
        typer.echo(f"the lab is up (pid {state.pid})")
        typer.echo(f"  export KUBECONFIG={state.kubeconfig}")
        typer.echo(f"  export CANARYD_PROMETHEUS={state.prometheus_url}")
        typer.echo(f"  requests: curl -H 'Host: reviews:9080' {state.gateway_url}/reviews/1")
        typer.echo(f"  control:  {state.control_url}/status")

    with explained():
        state = supervisor.up(directory, detach=detach, announce=announce, rps=rps, seed=seed)
        if detach:
            announce(state)


@lab.command()
def down() -> None:
    """Stop the lab."""
    _needs_the_extra()
    from canaryd.cli.output import explained
    from canaryd.lab import supervisor

    with explained():
        typer.echo("the lab is down" if supervisor.down() else "no lab was up")


@lab.command()
def status() -> None:
    """What the running lab is doing."""
    _needs_the_extra()
    import json

    from canaryd.cli.output import explained, stop
    from canaryd.lab import supervisor

    with explained():
        found = supervisor.status()
    if found is None:
        raise stop(Exit.REFUSED, "no lab is up; bring one up with: canaryd lab up")
    typer.echo(json.dumps(found, indent=2))


@lab.command()
def demo(
    reports: Annotated[Path | None, typer.Option(help="Where the reports go.", show_default="canaryd-demo")] = None,
    seed: Seed = 0,
) -> None:
    """The main job in two stories: a healthy canary promoted, a faulty one rolled back."""
    _needs_the_extra()
    from canaryd.cli.output import explained
    from canaryd.lab.demo import demo as tell

    with explained():
        raise typer.Exit(Exit.PROMOTED if tell(reports, seed=seed) else Exit.INTERNAL_ERROR)
