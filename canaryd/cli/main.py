"""The commands and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from canaryd import __version__
from canaryd.cli.exits import Exit
from canaryd.cli.options import Config, Context, Kubeconfig, PlanFile, Policies, PrometheusUrl, State

app = typer.Typer(
    name="canaryd",
    help="Canary analysis and traffic shifting for Istio.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"canaryd {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def validate(plan: PlanFile, policies: Policies = None, config: Config = None) -> None:
    """
    Check a plan, asking no cluster.

    Everything that is wrong is said at once, each with its path, what was found, and what was expected. Exit codes:
    0 valid, 13 not valid, 2 the file cannot be read.
    """
    from canaryd.cli.output import explained, plan_in
    from canaryd.cli.policies import policies_in
    from canaryd.settings import read_settings

    with explained():
        read = plan_in(plan, policies_in(read_settings(config, policies=policies).policies))
    steps = ", ".join(step.share for step in read.spec.steps)
    typer.echo(f"{plan}: plan {read} is valid: {read.spec.target.host} by steps of {steps}")


@app.command()
def show(
    plan: PlanFile,
    effective: Annotated[
        bool, typer.Option("--effective", help="Everything that is in force, each part with where it comes from.")
    ] = False,
    policies: Policies = None,
    output: Annotated[Literal["yaml", "json"], typer.Option("--output", "-o", help="How it is written.")] = "yaml",
    config: Config = None,
) -> None:
    """
    Print a plan, or what is in force for it.

    With --effective the policies and canaryd's defaults are in it, and what is printed is itself a plan that needs no
    policy. Exit codes: 0 valid, 13 not valid, 2 the file cannot be read.
    """
    from canaryd.cli.output import explained
    from canaryd.cli.policies import policies_in
    from canaryd.cli.policies import show as show_plan
    from canaryd.settings import read_settings

    with explained():
        known = policies_in(read_settings(config, policies=policies).policies)
        show_plan(plan, known, effective=effective, output=output)


@app.command()
def preflight(
    plan: PlanFile,
    wait: Annotated[
        str, typer.Option(help="How long to wait for what passes by itself, such as 10m.", metavar="DURATION")
    ] = "",
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
    output: Annotated[
        Literal["table", "yaml", "json"], typer.Option("--output", "-o", help="How it is written.")
    ] = "table",
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    prometheus: PrometheusUrl = None,
    state: State = None,
    policies: Policies = None,
    config: Config = None,
) -> None:
    """
    Say whether a plan would mean anything in this mesh.

    Reads objects, rights and metrics, and changes nothing; each run does the same before it begins. Each finding has a
    code (docs/preflight.md), and a command to type where there is one. Exit codes: 0 nothing speaks against a run, 13
    an error does (with --strict: or a warning), 2 usage.
    """
    from canaryd.cli.output import explained, plan_in
    from canaryd.cli.policies import policies_in
    from canaryd.cli.preflight import look
    from canaryd.settings import read_settings

    with explained():
        said = {"kubeconfig": kubeconfig, "context": context, "prometheus": prometheus, "state": state}
        settings = read_settings(config, policies=policies, **said)
        read = plan_in(plan, policies_in(settings.policies)).in_mode(settings.mode)
    with explained(f"plan {read}"):
        raise typer.Exit(look(read, settings, wait=wait, strict=strict, output=output))


@app.command()
def diff(
    plan: PlanFile,
    output: Annotated[
        Literal["diff", "yaml", "json"], typer.Option("--output", "-o", help="How it is written.")
    ] = "diff",
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    policies: Policies = None,
    config: Config = None,
) -> None:
    """
    Show what each step would change in the VirtualService.

    Nothing is written: the API server rehearses each patch (a dry run, webhooks included) where it may, and says so
    where it may not. Exit codes: 0 every step is accepted, 13 one would be refused, 2 usage.
    """
    from canaryd.cli.diff import show_diff
    from canaryd.cli.output import explained, plan_in
    from canaryd.cli.policies import policies_in
    from canaryd.settings import read_settings

    with explained():
        settings = read_settings(config, policies=policies, kubeconfig=kubeconfig, context=context)
        read = plan_in(plan, policies_in(settings.policies))
    with explained(f"plan {read}"):
        raise typer.Exit(show_diff(read, settings, output=output))


@app.command()
def run(
    plan: PlanFile,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    prometheus: PrometheusUrl = None,
    state: State = None,
    policies: Policies = None,
    config: Config = None,
    on_exit: Annotated[
        Literal["leave", "rollback"] | None,
        typer.Option(
            help="What ctrl-C, SIGTERM and SIGHUP do to a run in flight.",
            show_default="leave; without a terminal rollback",
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Run a release that was settled before once more.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Where the report goes.", show_default="STATE/RUN/report.html")
    ] = None,
    wait: Annotated[
        str,
        typer.Option(
            help="How long to wait for what is in the way and passes by itself, such as 10m.", metavar="DURATION"
        ),
    ] = "",
) -> None:
    """
    Carry out one plan in the foreground.

    As a pipeline job would: it ends when the canary is promoted or rolled back. Started again with the same plan and
    state it goes on where it was. Told to end, it rolls back or leaves the traffic as it is, as --on-exit says.

    Exit codes: 0 promoted, 1 internal error, 2 usage, 10 rolled back by verdict, 11 aborted, 12 inconclusive,
    13 refused, 14 left in flight.
    """
    from canaryd.cli.output import explained, plan_in
    from canaryd.cli.policies import policies_in
    from canaryd.cli.preflight import waiting_time
    from canaryd.cli.run import carry_out
    from canaryd.settings import read_settings

    with explained():
        said = {"kubeconfig": kubeconfig, "context": context, "prometheus": prometheus, "state": state}
        settings = read_settings(config, policies=policies, **said)
        known = policies_in(settings.policies)
        read = plan_in(plan, known).in_mode(settings.mode)
    with explained(f"plan {read}"):
        seconds = waiting_time(wait)
        raise typer.Exit(
            carry_out(read, plan, settings, known, on_exit=on_exit, again=again, report=report, wait=seconds)
        )


@app.command()
def serve(
    plans: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A folder of plans (*.yaml), such as a mounted ConfigMap.")
    ],
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    prometheus: PrometheusUrl = None,
    state: State = None,
    policies: Policies = None,
    config: Config = None,
) -> None:
    """
    The daemon: every plan in a folder.

    Each new release is run once. A run in flight goes on at the next start, whatever has become of its file; a plan
    that asks again for the release settled before aborts its run. SIGTERM leaves runs in flight.
    """
    from canaryd.cli.output import explained
    from canaryd.cli.serve import serve as serve_folder
    from canaryd.settings import read_settings

    if not plans.is_dir():
        from canaryd.cli.output import stop

        raise stop(Exit.USAGE, f"canaryd: {plans} is not a folder of plans")
    with explained():
        said = {"kubeconfig": kubeconfig, "context": context, "prometheus": prometheus, "state": state}
        serve_folder(plans, read_settings(config, policies=policies, **said))


@app.command()
def controller(
    plans: Annotated[Path | None, typer.Option(help="A folder of plans to keep in the cluster as CanaryPlans.")] = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    prometheus: PrometheusUrl = None,
    state: State = None,
    config: Config = None,
) -> None:
    """
    Carry out the CanaryPlans of a cluster.

    Several may run at once: one leads, the others stand by. SIGTERM hands over; runs in flight go on with the next
    leader. Exit codes: 0 told to end, 13 the cluster is not ready for it (the reason says what to do).
    """
    from canaryd.cli.output import explained, stop
    from canaryd.controller.daemon import Daemon
    from canaryd.logs import set_up
    from canaryd.settings import read_settings

    if plans is not None and not plans.is_dir():
        raise stop(Exit.USAGE, f"canaryd: {plans} is not a folder of plans")
    with explained():
        settings = read_settings(config, kubeconfig=kubeconfig, context=context, prometheus=prometheus, state=state)
        set_up(settings.log_format, settings.log_level)
        Daemon(settings, plans).run()


@app.command()
def drain(
    within: Annotated[float, typer.Option(help="Seconds to wait for the rollbacks.", min=0)] = 300.0,
    keep_runs: Annotated[
        bool, typer.Option("--keep-runs", help="Leave the CanaryRuns, which are the history.")
    ] = False,
    for_good: Annotated[
        bool,
        typer.Option("--for-good", help="canaryd is taken out: a later installation begins releases without --undo."),
    ] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Let canaryd begin releases again.")] = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    config: Config = None,
) -> None:
    """
    Before canaryd is taken out of a cluster: roll back what runs, and take out what is canaryd's.

    Works with a controller, beside a broken one, and without one. Exit codes: 0 nothing of canaryd's is left, 14
    something is in flight still, 13 refused.
    """
    from canaryd.cli.output import explained, stop
    from canaryd.controller.drain import drain as carry_out
    from canaryd.controller.drain import undrain
    from canaryd.desk.folder import user
    from canaryd.logs import set_up
    from canaryd.settings import read_settings

    with explained():
        settings = read_settings(config, kubeconfig=kubeconfig, context=context)
        set_up(settings.log_format, "error" if "log_level" not in settings.model_fields_set else settings.log_level)
        if undo:
            typer.echo("canaryd begins releases again" if undrain(settings) else "canaryd was not drained")
            return
        left = carry_out(settings, by=user(), within=within, keep_runs=keep_runs, for_good=for_good, say=typer.echo)
    if left:
        raise stop(Exit.LEFT_IN_FLIGHT, f"canaryd: after {within:g} s there is still: {left}")
    typer.echo("nothing of canaryd's is left")


@app.command()
def judge() -> None:
    """
    Judge cells of any origin, JSON lines in and out.

    First line {"bounds_ms": [...], "plan"?: {...}}, then {"run", "t", "duration_s", "weight", "stable": {"requests",
    "errors", "buckets", "pods"?}, "canary": {...}} per cell, of as many runs as you like. docs/judge.md says more.
    Exit codes: 0 every line was read, 2 some were not, 1 the answers cannot be written.
    """
    from canaryd.cli.judge import judge_stdin
    from canaryd.cli.output import explained

    with explained():
        raise typer.Exit(judge_stdin())


@app.command()
def notify(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="A channel of the settings.")],
    config: Config = None,
) -> None:
    """
    Send a test message to a channel, and say what came back.

    Exit codes: 0 it was taken, 13 it was not, 2 usage.
    """
    from canaryd.app import try_channel
    from canaryd.cli.output import explained
    from canaryd.settings import read_settings

    with explained():
        reply = try_channel(read_settings(config), channel)
    taken = reply.said == "yes"
    typer.echo(f"channel {channel}: {'taken' if taken else 'not taken'}: {reply.why}", err=not taken)
    raise typer.Exit(Exit.PROMOTED if taken else Exit.REFUSED)


@app.command("import")
def import_(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Manifests (YAML or JSON), those beside them included; - is stdin."),
    ],
    output: Annotated[Literal["yaml", "json"], typer.Option("--output", "-o", help="How it is written.")] = "yaml",
    everything: Annotated[
        bool, typer.Option("--all", help="Say what became of each field, not only of what was left out.")
    ] = False,
) -> None:
    """
    Make plans of Flagger's Canaries and Argo's Rollouts.

    The plans go to standard output, and what of the source is not in them to standard error, line by line. Objects that
    are given beside are read where one needs them: MetricTemplates, AnalysisTemplates, VirtualServices,
    DestinationRules. Nothing is asked of a cluster: kubectl get canary NAME -o yaml | canaryd import -

    docs/import.md says in which order canaryd takes over. Exit codes: 0 everything is in the plans, 15 something was
    left out, 13 there is nothing that could be a plan, 2 a file cannot be read.
    """
    from canaryd.cli.importing import bring_in
    from canaryd.cli.output import explained

    with explained("import"):
        raise typer.Exit(bring_in(files, output, everything=everything))


Namespace = Annotated[str, typer.Option("--namespace", "-n", metavar="NS", help="The plans of this namespace.")]
Everywhere = Annotated[bool, typer.Option("--all-namespaces", "-A", "--all", help="The plans of every namespace.")]
Why = Annotated[str, typer.Option(help="Why; whoever waits is told.")]
Until = Annotated[str, typer.Option(metavar="TIME", help="When it ends by itself, such as 2026-12-24T18:00+01:00.")]
For = Annotated[str, typer.Option("--for", metavar="DURATION", help="How long it lasts, such as 4h.")]
Called = Annotated[str, typer.Option(help="Its name; by default one is made up.")]
Files = Annotated[
    Path | None, typer.Option("--state", help="The state folder of canaryd run and serve, instead of a cluster.")
]


@app.command()
def freeze(
    reason: Why,
    namespace: Namespace = "",
    everywhere: Everywhere = False,
    until: Until = "",
    lasting: For = "",
    name: Called = "",
    state: Files = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    config: Config = None,
) -> None:
    """
    Let nothing start and nothing rise for a while.

    What bakes goes on baking and holds its traffic; rollback and abort work as always. Ends at its end, or with
    canaryd thaw.
    """
    from canaryd.cli.freezes import freeze as carry_out
    from canaryd.cli.freezes import place
    from canaryd.cli.output import explained

    with explained("freeze"):
        where = place(config, kubeconfig, context, state)
        carry_out(where, namespace, everywhere, reason, until, lasting, name, stop=False)


@app.command()
def stop(
    reason: Why,
    namespace: Namespace = "",
    everywhere: Everywhere = False,
    hold: Annotated[bool, typer.Option("--hold", help="Only hold: roll nothing back.")] = False,
    until: Until = "",
    lasting: For = "",
    name: Called = "",
    state: Files = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    config: Config = None,
) -> None:
    """
    The emergency stop: roll back every run in flight, and begin nothing until it is lifted.

    With --hold what is in flight stays where it is, and nothing rises. Lifted with canaryd thaw.
    """
    from canaryd.cli.freezes import freeze as carry_out
    from canaryd.cli.freezes import place
    from canaryd.cli.output import explained

    with explained("stop"):
        where = place(config, kubeconfig, context, state)
        carry_out(where, namespace, everywhere, reason, until, lasting, name, stop=not hold, ends=False)


@app.command()
def freezes(
    namespace: Namespace = "",
    everywhere: Everywhere = False,
    output: Annotated[
        Literal["table", "json", "yaml"], typer.Option("--output", "-o", help="How it is written.")
    ] = "table",
    state: Files = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    config: Config = None,
) -> None:
    """
    List what is frozen or stopped, by whom, why and until when.

    Of every namespace, unless -n names one: that one's, and what holds for all.
    """
    from canaryd.cli.freezes import not_both, place, show
    from canaryd.cli.output import explained

    with explained("freezes"):
        not_both(namespace, everywhere)
        show(place(config, kubeconfig, context, state), namespace, output=output)


@app.command()
def thaw(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The freeze's name, as canaryd freezes lists it.")],
    namespace: Namespace = "",
    everywhere: Everywhere = False,
    state: Files = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    config: Config = None,
) -> None:
    """
    Lift a freeze or a stop.

    What waited goes on by itself; what a stop rolled back needs a new release in its plan.
    """
    from canaryd.cli.freezes import lift, place
    from canaryd.cli.output import explained

    with explained("thaw"):
        lift(place(config, kubeconfig, context, state), name, namespace, everywhere)


@app.command()
def crds() -> None:
    """
    Print the CustomResourceDefinitions of canaryd.

    Before the controller of this version is started: canaryd crds | kubectl apply --server-side -f -
    """
    from canaryd.store.definitions import definitions, manifest

    typer.echo(manifest(definitions()), nl=False)


def _add_the_others() -> None:
    from canaryd.cli import desk
    from canaryd.cli.lab import lab

    desk.add_to(app)
    app.add_typer(lab, name="lab")


_add_the_others()
