"""
The release manager's commands: what there is to see, and what a person may say.

Each works on a state folder and on a cluster alike (places.py), with the person's own rights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from canaryd.cli.completing import plans, runs
from canaryd.cli.places import Place, placed

Which = Annotated[str, typer.Argument(metavar="RUN", help="A run's name, or its plan's.", autocompletion=runs)]
OfPlan = Annotated[str, typer.Argument(metavar="PLAN", help="A plan's name.", autocompletion=plans)]
Reason = Annotated[str, typer.Option(help="Why; it is kept for ever.")]
Output = Annotated[
    Literal["table", "wide", "json", "yaml"], typer.Option("--output", "-o", help="How it is written.")
]  # fmt: skip
Spoken = Annotated[
    Literal["text", "json", "yaml"], typer.Option("--output", "-o", help="How the answer is written.")
]  # fmt: skip
Wait = Annotated[
    str, typer.Option(metavar="DURATION", help="How long to wait until the run has heard it, such as 10s; 0s: not.")
]
Journal = Annotated[
    Path | None,
    typer.Option(
        "--journal",
        metavar="FILE",
        help="A copy of the run's journal.jsonl; - is standard input.",
        show_default="what the place has",
    ),
]

HERE = Place()
"""Nothing typed; ``placed`` makes options of it."""


def add_to(app: typer.Typer) -> None:
    """Put the commands into ``app``."""
    for command in (status, history, explain, watch, report, links, release, hold, resume, approve, advance, promote):
        app.command()(placed(command))
    app.command()(placed(abort))
    app.command("rollback", help="The same as canaryd abort: roll a run back, for good.")(placed(abort))
    app.command("skip-step")(placed(skip_step))
    app.command()(placed(retry))
    app.command()(placed(undo))
    app.command()(placed(ui))


def status(
    which: Which = "",
    output: Output = "table",
    every: Annotated[
        bool, typer.Option("--runs", help="A line for every run that is kept, not for every plan.")
    ] = False,
    place: Place = HERE,
) -> None:
    """
    Say where releases stand: all of them, or one in depth.

    Exit codes: 0 said, 13 there is no such run.
    """
    from canaryd.cli.output import explained

    with explained():
        from canaryd.cli.reading import status as show

        show(place, which, output, every=every)


def history(which: OfPlan, output: Output = "table", place: Place = HERE) -> None:
    """List the runs of a plan, the oldest first."""
    from canaryd.cli.output import explained

    with explained():
        from canaryd.cli.reading import history as show

        show(place, which, output)


def explain(which: Which, output: Output = "table", journal: Journal = None, place: Place = HERE) -> None:
    """
    Say why a run is where it is.

    And what happens next, what a person can do now, and every decision in order.
    """
    from canaryd.cli.output import explained

    with explained():
        from canaryd.cli.reading import explain_run

        explain_run(place, which, output, journal)


def watch(which: Which = "", output: Spoken = "text", place: Place = HERE) -> None:
    """
    Watch a run until it has ended.

    Without RUN: the one in flight, or all of them. A terminal gets a live table, anything else a line whenever
    something changes; -o json the run as JSON, a line for each change. Watching touches nothing: ctrl-C leaves, and
    the run goes on. Exit codes: as canaryd run.
    """
    from canaryd.cli.output import explained

    with explained():
        from canaryd.cli.watching import watch as follow

        raise typer.Exit(follow(place, which, output))


def report(
    which: Which,
    output: Annotated[
        Literal["html", "md", "json", "yaml"], typer.Option("--output", "-o", help="How it is written.")
    ] = "html",
    out: Annotated[Path | None, typer.Option("--out", help="The file.", show_default="standard output")] = None,
    journal: Journal = None,
    place: Place = HERE,
) -> None:
    """Write the report of a run: one file that needs nothing else."""
    from canaryd.cli.output import explained

    with explained():
        from canaryd.cli.reading import report as write

        write(place, which, output, out, journal)


def links(
    which: Which,
    output: Annotated[
        Literal["text", "json", "yaml"], typer.Option("--output", "-o", help="How it is written.")
    ] = "text",
    place: Place = HERE,
) -> None:
    """
    Show where a run is to be seen in Kiali, Grafana, and Jaeger or Tempo.

    And requests that its canary failed or was slow at, as examples. The settings say where those are.
    """
    from canaryd.cli.output import explained

    with explained():
        from canaryd.cli.links import show_links

        show_links(place, which, output)


def release(
    which: OfPlan,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="What is to be released, as spec.release says it.")],
    reason: Reason = "",
    wait: Annotated[bool, typer.Option("--wait", help="Watch its run to the end; exit codes as canaryd run.")] = False,
    output: Spoken = "text",
    place: Place = HERE,
) -> None:
    """
    Give a plan of the cluster a new release, which begins a run.

    A plan that Argo CD or Flux keeps is better changed in Git: it is warned of. Exit codes: 0 asked for (with --wait:
    promoted; else as canaryd run), 13 refused.
    """
    from canaryd.cli.output import explained

    with explained(f"release {version}"):
        from canaryd.cli.acting import release as carry_out

        raise typer.Exit(carry_out(place, which, version, reason, follow=wait, form=output))


def hold(
    which: Which, reason: Reason = "", wait: Wait = "5s", output: Spoken = "text", place: Place = HERE
) -> None:  # fmt: skip
    """Let traffic stay where it is, until canaryd resume."""
    _say("hold", place, which, reason, wait, output)


def resume(
    which: Which,
    reason: Reason = "",
    reassert: Annotated[
        bool, typer.Option("--reassert", help="After a change by hand: set the run's weights again (the default).")
    ] = False,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="After a change by hand: go on from the weights that are there.")
    ] = False,
    wait: Wait = "5s",
    output: Spoken = "text",
    place: Place = HERE,
) -> None:
    """Go on after a hold, or after a change of the weights by hand."""
    from canaryd.cli.exits import Exit
    from canaryd.cli.output import stop

    if reassert and adopt:
        raise stop(Exit.USAGE, "canaryd: --reassert and --adopt: one of the two")
    _say("adopt" if adopt else "resume", place, which, reason, wait, output, name="resume --adopt" if adopt else "")


def approve(
    which: Which, reason: Reason = "", wait: Wait = "5s", output: Spoken = "text", place: Place = HERE
) -> None:  # fmt: skip
    """Open the gate that a run waits at."""
    _say("approve", place, which, reason, wait, output)


def advance(
    which: Which, reason: Reason = "", wait: Wait = "5s", output: Spoken = "text", place: Place = HERE
) -> None:  # fmt: skip
    """Go one step further now, on your own word."""
    _say("advance", place, which, reason, wait, output)


def promote(
    which: Which,
    reason: Annotated[str, typer.Option(help="Why it is promoted without proof; the run is marked with it.")],
    to_100: Annotated[
        bool, typer.Option("--to-100", help="From whatever step it is at: the steps that are left are left out.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, though a proof is missing.")] = False,
    wait: Wait = "5s",
    output: Spoken = "text",
    place: Place = HERE,
) -> None:
    """
    Promote a run without proof.

    By a person's word, at the last step, or with --to-100 at any; asks first where the proof is missing. The run is
    marked with the reason for ever.
    """
    from canaryd.cli.output import explained

    with explained("promote"):
        from canaryd.cli.acting import promote as carry_out

        carry_out(place, which, reason, to_100=to_100, yes=yes, wait=wait, form=output)


def abort(
    which: Which,
    reason: Reason = "",
    force: Annotated[bool, typer.Option("--force", help="Go back even though stable has no ready endpoint.")] = False,
    wait: Wait = "5s",
    output: Spoken = "text",
    place: Place = HERE,
) -> None:
    """Roll a run back, for good."""
    _say("abort", place, which, reason, wait, output, force=force)


def skip_step(
    which: Which,
    step: Annotated[int, typer.Argument(metavar="N", help="The step, from 1, as canaryd status counts them.", min=1)],
    reason: Reason = "",
    wait: Wait = "5s",
    output: Spoken = "text",
    place: Place = HERE,
) -> None:
    """Leave out a step that has not passed yet."""
    _say("skip", place, which, reason, wait, output, skips=step - 1, name=f"skip-step {step}")


def retry(
    which: Annotated[
        str, typer.Argument(metavar="RUN", help="A run that has ended, or its plan.", autocompletion=runs)
    ],
    reason: Reason = "",
    wait: Wait = "5s",
    output: Spoken = "text",
    place: Place = HERE,
) -> None:
    """Run a release again that was rolled back: a new run of the same plan."""
    from canaryd.cli.output import explained

    with explained("retry"):
        from canaryd.cli.acting import retry as carry_out

        carry_out(place, which, reason, wait=wait, form=output)


def undo(
    which: Annotated[
        str, typer.Argument(metavar="PLAN", help="A plan's name, or the name of its last run.", autocompletion=plans)
    ],
    reason: Reason = "",
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Go back even though it was promoted long ago, others moved the weights, or the former version is not "
            "what it was.",
        ),
    ] = False,
    wait: Wait = "5s",
    output: Spoken = "text",
    place: Place = HERE,
) -> None:
    """
    Take back the release promoted last: all traffic to the former version, at once.

    Nothing is judged. Within undoWithin of the plan, while the former version is still there as it was. Of a run that
    has not ended: canaryd abort. In a cluster the controller carries it out, in a folder this command. Exit codes:
    0 undone (in a cluster: asked), 13 refused, 1 internal error.
    """
    from canaryd.cli.output import explained

    with explained(f"undo {which}"):
        from canaryd.cli.acting import undo as carry_out

        raise typer.Exit(carry_out(place, which, reason, force=force, wait=wait, form=output))


def ui(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 8095,
    url: Annotated[str, typer.Option(help="Under which address people find it, such as https://canaryd.example.")] = "",
    auth: Annotated[
        Literal["kubeconfig", "bearer", "proxy"],
        typer.Option(
            help="kubeconfig: you alone, on this machine. bearer: everybody with a token of their own. proxy: a proxy "
            "says who comes (docs/page.md has the risk)."
        ),
    ] = "kubeconfig",
    trusted_proxy: Annotated[
        list[str] | None, typer.Option(metavar="CIDR", help="With --auth proxy: whose word on people counts.")
    ] = None,
    place: Place = HERE,
) -> None:
    """
    Serve the release manager's page.

    Plans and runs as they move, and buttons for what a person may say, with that person's own rights. Exit codes: 0
    ended, 13 refused.
    """
    from canaryd.cli.output import explained

    with explained("ui"):
        from canaryd.cli.ui import serve

        serve(place, host, port, url, auth, trusted_proxy or ())


def _say(
    verb: str, place: Place, which: str, reason: str, wait: str, form: Literal["text", "json", "yaml"], *,
    name: str = "", force: bool = False, skips: int | None = None,
) -> None:  # fmt: skip
    from canaryd.cli.output import explained

    with explained(name or verb):
        from canaryd.cli.acting import Word, say_to

        say_to(place, which, Word(verb, name, force, skips), reason, wait=wait, form=form)
