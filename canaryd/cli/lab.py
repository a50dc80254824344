"""``canaryd lab``: a mesh on this machine to learn and to try."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from canaryd.cli.exits import Exit

lab = typer.Typer(help="A small real mesh on this machine: Envoy, Prometheus, a Kubernetes API.", no_args_is_help=True)

Rps = Annotated[float, typer.Option(help="Requests a second that the lab's client sends.", min=1, max=2000)]
RpsOfUp = Annotated[
    float | None,
    typer.Option(
        help="Requests a second that the lab's client sends.",
        show_default="300; 600 with --controller, to prove more in less time",
        min=1,
        max=2000,
    ),
]
Seed = Annotated[int, typer.Option(help="Of the client's random arrivals.")]


def _needs_the_extra() -> None:
    from canaryd.cli.output import stop

    try:
        import aiohttp  # noqa: F401
        import cryptography  # noqa: F401
        import envoy  # noqa: F401
    except ImportError as error:
        remedy = "in a checkout: pip install '.[lab]'; elsewhere: pip install 'istio-canaryd[lab]'"
        raise stop(Exit.USAGE, f"canaryd lab needs its extra ({error.name}), {remedy}") from error


Directory = Annotated[Path | None, typer.Option(help="Where it keeps its files.", show_default="a new one")]
From = Annotated[
    Path | None,
    typer.Option(
        "--from",
        help="Your own objects instead of Bookinfo: a directory or file of YAML, or - for standard input.",
        metavar="DIR",
        show_default=False,
    ),
]
PlanFile = Annotated[
    Path | None,
    typer.Option("--plan", help="The plan that says who is on trial.", show_default="the one in DIR"),
]
RequestPath = Annotated[
    str, typer.Option("--path", help="What to call, where the plan's entry matches by a regular expression.")
]
Headers = Annotated[
    list[str] | None, typer.Option("--header", "-H", help="A header of every request, as NAME: VALUE; may be repeated.")
]


@lab.command()
def up(
    rps: RpsOfUp = None,
    seed: Seed = 0,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when it is ready.")] = False,
    directory: Directory = None,
    own: From = None,
    plan: PlanFile = None,
    path: RequestPath = "",
    header: Headers = None,
    page_views: Annotated[float, typer.Option(help="People a second who look at Bookinfo's page.", min=0)] = 5,
    traces: Annotated[
        str | None,
        typer.Option(help="A collector: http://HOST:9411/api/v2/spans or http://HOST:4318/v1/traces.", metavar="URL"),
    ] = None,
    trace_sampling: Annotated[float, typer.Option(help="Percent of requests that are traced.", min=0, max=100)] = 100,
    controller: Annotated[
        bool, typer.Option("--controller", help="With canaryd in it, as in a cluster: plans are applied with kubectl.")
    ] = False,
) -> None:
    """
    Bring up the lab: Bookinfo behind a real Envoy, measured by a real Prometheus, under traffic.

    With --from it is your own service: VirtualServices, DestinationRules, Services, Deployments and a plan, as you keep
    them in Git or as `kubectl get -o yaml` prints them. What is missing behind your routes is made up, and said.

    With --controller canaryd's own controller runs in it, and a plan to begin with is written down.
    """
    _needs_the_extra()
    import dataclasses

    from canaryd.cli.output import explained
    from canaryd.lab import bookinfo, supervisor
    from canaryd.lab.own import set_scene

    rps = rps or (600.0 if controller else 300.0)
    options: dict[str, Any] = {"rps": rps, "seed": seed, "traces": traces, "trace_sampling": trace_sampling}
    with explained(str(own or "")):
        if own is None:
            request, options["page_views"] = bookinfo.scene().request, page_views
        else:
            scene, chosen, notes = set_scene(own, plan, path=path, headers=_headers(header))
            request, options["scene"] = scene.request, dataclasses.asdict(scene)
            _say_scene(chosen, scene, notes)
            if controller:
                options["plan"] = _at_the_labs_pace(chosen, rps)
        options["controller"] = controller

        def announce(state: supervisor.State) -> None:
            typer.echo(f"the lab is up (pid {state.pid})")
            typer.echo(f"  export KUBECONFIG={state.kubeconfig}")
            typer.echo(f"  export CANARYD_PROMETHEUS={state.prometheus_url}")
            typer.echo(f"  requests: {_curl(request, state.gateway_url)}")
            if own is None and "8080" in state.vantage["ingress"]:
                typer.echo(f"  the page: curl http://{state.vantage['ingress']['8080']}/productpage")
            typer.echo(f"  control:  {state.control_url}/status")
            if controller:
                typer.echo(f"  metrics:  curl {state.controller_url}/metrics")
                typer.echo("canaryd leads in it; a release is begun and watched with:")
                typer.echo(f"  kubectl apply -f {state.plan}")
                typer.echo("  kubectl get canaryplans,canaryruns -A")

        state = supervisor.up(directory, detach=detach, announce=announce, **options)
        if detach:
            announce(state)


def _at_the_labs_pace(plan: Any, rps: float) -> str:
    """The plan for the lab's cluster, where nobody waits for hours; says what had to differ."""
    import yaml

    from canaryd.lab.own.pace import pace, quickened

    times = pace(plan, rps)
    quick, notes = quickened(plan, times)
    typer.echo(f"  note: one second of the lab stands for {times:g} of plan {plan.name}")
    for note in notes:
        typer.echo(f"  note: {note}")
    return yaml.safe_dump(quick.model_dump(mode="json", by_alias=True, exclude_none=True), sort_keys=False)


def _headers(said: list[str] | None) -> dict[str, str]:
    from canaryd.cli.output import stop

    found = {}
    for each in said or ():
        name, colon, value = each.partition(":")
        if not colon or not name.strip():
            raise stop(Exit.USAGE, f"--header {each!r}: expected NAME: VALUE, such as 'end-user: jason'")
        found[name.strip()] = value.strip()
    return found


def _say_scene(plan: Any, scene: Any, notes: tuple[str, ...]) -> None:
    versions = " and ".join(scene.versions)
    typer.echo(f"on trial: {versions} of VirtualService {scene.namespace}/{scene.virtual_service}, by plan {plan.name}")
    for note in notes:
        typer.echo(f"  note: {note}")


def _curl(request: Any, url: str) -> str:
    """The lab's own request, for a person to send."""
    method = "" if request.method == "GET" else f"-X {request.method} "
    headers = {"Host": request.host, **{k: v for k, v in request.headers.items() if not k.startswith("x-lab-")}}
    said = " ".join(f"-H '{name}: {value}'" for name, value in headers.items())
    return f"curl {method}{said} {url}{request.path}"


@lab.command(name="try")
def try_(
    plan: Annotated[Path, typer.Argument(help="The plan's file.", show_default=False)],
    own: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Your objects: a directory, a file, or -.", metavar="DIR", show_default="the plan's folder"
        ),
    ] = None,
    rps: Annotated[float, typer.Option(help="Requests a second that your service gets.", min=0.1)] = 100,
    errors: Annotated[float, typer.Option(help="Percent of them that fail today.", min=0, max=100)] = 0.1,
    p50: Annotated[float, typer.Option(help="Median, in milliseconds.", min=1)] = 20,
    p99: Annotated[float, typer.Option(help="99th percentile, in milliseconds.", min=1)] = 100,
    figures_from: Annotated[
        str | None,
        typer.Option(help="Your Prometheus: the figures are those of the last half hour.", metavar="URL"),
    ] = None,
    story: Annotated[
        list[str] | None,
        typer.Option(
            "--story",
            help="healthy, errors, slow, tail, late, drained; may be repeated.",
            show_default="healthy, errors, slow, drained",
        ),
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(help="What one second stands for.", min=1, show_default="as scrapes and load allow"),
    ] = None,
    path: RequestPath = "",
    header: Headers = None,
    folder: Annotated[Path, typer.Option(help="Where logs, journals and reports go.")] = Path("canaryd-try"),
    seed: Seed = 1,
) -> None:
    """
    Try a plan on your own service, healthy and broken, at your traffic, in minutes instead of hours.

    Exit codes: 0 every story ended as one would wish, 1 one did not (what to do is said), 2 usage, 13 refused.
    """
    _needs_the_extra()
    from canaryd.cli.output import explained
    from canaryd.cli.trying import try_all
    from canaryd.lab.own import set_scene_of
    from canaryd.lab.own.figures import Figures, measured
    from canaryd.lab.own.trying import trial

    with explained(str(plan)):
        scene, chosen, notes, workloads = set_scene_of(plan, own, path=path, headers=_headers(header))
        _say_scene(chosen, scene, notes)
        figures = Figures(rps, errors / 100, p50, p99)
        if figures_from:
            figures = measured(figures_from, chosen, workloads)
        names = tuple(story or ("healthy", "errors", "slow", "drained"))
        good = try_all(trial(scene, chosen, figures, names, speed), scene, figures, folder, seed)
        raise typer.Exit(Exit.PROMOTED if good else Exit.INTERNAL_ERROR)


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
def top(
    once: Annotated[bool, typer.Option("--once", help="Print one picture, after three seconds, and end.")] = False,
) -> None:
    """Watch the running lab: split wanted and observed, failures, latency, faults that are on. Ctrl-C ends it."""
    _needs_the_extra()
    from canaryd.cli.output import explained

    with explained():
        _show(once)


def _show(once: bool) -> None:
    import contextlib
    import time

    from rich.console import Console
    from rich.live import Live

    from canaryd.errors import Unavailable
    from canaryd.lab import supervisor
    from canaryd.lab.top import Books, History, screen, watch

    state = _running()
    if once:
        history = History()
        for pause in (3, 0):
            history.add(Books.read(time.monotonic(), supervisor.control(state, "/books")))
            time.sleep(pause)
        Console().print(screen(supervisor.control(state, "/status"), history))
        return
    with Live(screen=True, auto_refresh=False) as display, contextlib.suppress(KeyboardInterrupt):
        try:
            watch(lambda path: supervisor.control(state, path), lambda shown: display.update(shown, refresh=True))
        except Unavailable:
            if state.alive():
                raise
    if not state.alive():
        typer.echo("the lab is down")


def _running() -> Any:
    """The running lab's state; ends the command where none runs."""
    from canaryd.cli.output import stop
    from canaryd.lab import supervisor

    found = supervisor.read_state(supervisor.state_file())
    if found is None or not found.alive():
        raise stop(Exit.REFUSED, "no lab is up; bring one up with: canaryd lab up --detach")
    return found


def _tell(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Give the running lab an order."""
    from canaryd.cli.output import explained
    from canaryd.lab import supervisor

    _needs_the_extra()
    with explained():
        return supervisor.control(_running(), path, body)


@lab.command()
def fault(
    version: Annotated[str, typer.Argument(help="Such as v3.", show_default=False)] = "",
    dials: Annotated[list[str] | None, typer.Argument(help="Such as error_rate=0.02 base_ms=40.")] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Every version healthy again.")] = False,
) -> None:
    """Turn a version's dials: how often it fails, how slow it is. Without dials: print where they are."""
    from canaryd.cli.output import stop

    if reset:
        _tell("/faults", {"reset": True})
        typer.echo("every version is healthy")
        return
    if not version:
        raise stop(Exit.USAGE, "name a version and its dials, such as: canaryd lab fault v3 error_rate=0.02")
    changes: dict[str, float] = {}
    for dial in dials or []:
        name, _, value = dial.partition("=")
        try:
            number = float(value)
        except ValueError:
            raise stop(Exit.USAGE, f"{dial}: expected a dial and a number, such as error_rate=0.02") from None
        changes[name] = int(number) if number == int(number) and name not in RATES else number
    for name, value in _tell("/faults", {"version": version, **changes}).items():
        typer.echo(f"  {name:<16} {value}")


RATES = ("error_rate", "part_error_rate", "grpc_error_rate", "spread_rate", "tail_rate")


@lab.command()
def drain(version: Annotated[str, typer.Argument(help="Such as v3.")]) -> None:
    """Make every pod of a version not ready, as a failing readiness probe does."""
    typer.echo(f"{_tell('/drain', {'version': version})['pods']} pods of {version} are not ready")


@lab.command()
def restore(version: Annotated[str, typer.Argument(help="Such as v3.")]) -> None:
    """Make every pod of a version ready again."""
    typer.echo(f"{_tell('/restore', {'version': version})['pods']} pods of {version} are ready")


@lab.command()
def rate(rps: Annotated[float, typer.Argument(help="Requests a second.", min=1, max=2000)]) -> None:
    """Change how many requests a second the lab's client sends."""
    typer.echo(f"{_tell('/rate', {'rps': rps})['rps']:g} requests a second")


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


@lab.command()
def scenarios() -> None:
    """List the scenarios that come with canaryd, a sentence each."""
    _needs_the_extra()
    from canaryd.cli.output import explained
    from canaryd.lab.scenarios.format import library, load_scenario

    with explained():
        names = library()
        for name in names:
            typer.echo(f"{name:{max(map(len, names))}}  {load_scenario(name).scenario.about}")


@lab.command()
def run(
    scenario: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME|FILE]...", help="Scenarios of the library, or files.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every scenario of the library.")] = False,
    seed: Annotated[int | None, typer.Option(help="Of arrivals and spikes.", show_default="the scenario's own")] = None,
    repeat: Annotated[int, typer.Option(help="How often, with seeds that follow each other.", min=1)] = 1,
    labs: Annotated[
        int | None,
        typer.Option(help="Each on a lab of its own, so many side by side.", show_default="in turn on one lab", min=1),
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where logs, journals and reports go.")] = Path("canaryd-scenarios"),
) -> None:
    """
    Play scenarios on a lab, and hold what happened against what was expected.

    The lab is brought up for it. Exit codes: 0 everything as expected, 1 something was not, 2 usage, 13 a scenario that
    is wrong. docs/scenarios.md says how to write one.
    """
    _needs_the_extra()
    from canaryd.cli.output import explained, stop
    from canaryd.cli.scenarios import run_in_turn, run_side_by_side
    from canaryd.lab.scenarios.format import library

    names = list(library()) if every else list(scenario or ())
    if not names:
        raise stop(Exit.USAGE, "canaryd lab run: name a scenario (canaryd lab scenarios lists them), a file, or --all")
    with explained("scenario"):
        good = (
            run_in_turn(names, folder, seed, repeat)
            if labs is None
            else run_side_by_side(names, folder, seed, repeat, labs)
        )
        raise typer.Exit(Exit.PROMOTED if good else Exit.INTERNAL_ERROR)
