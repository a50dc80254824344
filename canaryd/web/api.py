"""The JSON API: the same as the pages, for programs. Keys are those of ``-o json`` of the command line."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from canaryd.app import report_with
from canaryd.desk import decision_data, depth_data, plan_data, run_data
from canaryd.model.run import Verb
from canaryd.web.acting import LONGEST_REASON, Order, buttons, carry_out
from canaryd.web.coming import Hall
from canaryd.web.faults import Fault
from canaryd.web.releasing import LONGEST_VERSION, carry_out_release, plan_of
from canaryd.web.reporting import Neighbours
from canaryd.web.seen import look, read
from canaryd.web.sessions import Session, lacking

ABOUT = """\
Programs sign in with `Authorization: Bearer TOKEN`: a token of the cluster, or on a laptop the key that `canaryd ui`
prints. A browser's session needs the header `X-CSRF-Token` for whatever is not a GET. Errors are problem details
(RFC 9457). Moments are UTC, weights are percent, steps count from 1.
"""
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$"
Namespace = Annotated[str, Path(pattern=NAME, description="The namespace of the plan.")]
Name = Annotated[str, Path(pattern=NAME, description="The name of the run.")]
OfPlan = Annotated[str, Path(pattern=NAME, description="The name of the plan.")]
OfNamespace = Annotated[str, Query(pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$", description="Only there.")]


class Sent(BaseModel):
    """What is sent: keys in camelCase."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class Me(Sent):
    """Who the API server says you are, and where you are."""

    name: str
    where: str


class OnePlan(Sent):
    """A plan with where its release stands; what is not known yet is null."""

    namespace: str
    plan: str
    release: str
    run: str | None
    phase: str | None
    step: int | None
    steps: int | None
    weight: float | None
    share: str | None
    verdict: str | None
    why: str
    astray: str | None = None
    since: str | None
    attended: bool | None


class OneRun(Sent):
    """A run in a line."""

    namespace: str
    run: str
    plan: str
    release: str
    phase: str
    step: int | None
    steps: int | None
    weight: float | None
    share: str | None
    verdict: str | None
    outcome: str | None
    why: str
    astray: str | None = None
    began: str | None
    ended: str | None
    attended: bool | None
    undoes: str | None


class OneDecision(Sent):
    """A decision, as it was told."""

    at: str | None
    event: str
    phase: str
    share: str | None
    reason: str
    by: str | None


class RunInDepth(OneRun):
    """A run with its evidence and its last decisions."""

    evidence: list[str]
    decisions: list[OneDecision]
    break_glass: str | None


class Possible(Sent):
    """A word there is to the run: whether it would be obeyed as it stands, and if not, why."""

    verb: Verb
    possible: bool
    why_not: str | None


class Say(Sent):
    """What is said to a run; what is not of its kind is not taken for it."""

    model_config = ConfigDict(strict=True)

    verb: Verb
    reason: str = Field("", max_length=LONGEST_REASON, description="Why; it is kept for ever. promote needs one.")
    force: bool = Field(False, description="abort: without a ready stable; undo: late; promote: from any step.")
    step: int | None = Field(None, ge=1, le=999, description="skip: the step to leave out.")
    sure: bool = Field(False, description="promote: although the proof is missing.")


class WrittenDown(Sent):
    """The command was written down; the run obeys it at its next tick, and then lists its id as obeyed."""

    id: str
    verb: Verb
    by: str


class Release(Sent):
    """A new release of a plan."""

    model_config = ConfigDict(strict=True)

    version: str = Field(min_length=1, max_length=LONGEST_VERSION, description="What spec.release is to say.")
    reason: str = Field("", max_length=LONGEST_REASON, description="Why; it is kept with the plan.")


class AskedFor(Sent):
    """The plan asks for the release; whoever carries plans out begins a run of it."""

    namespace: str
    plan: str
    former: str
    release: str


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    remedy: str | None = None


def problem(fault: Fault) -> JSONResponse:
    """``fault`` as problem details."""
    body = {"type": "about:blank", "title": fault.title, "status": fault.status, "detail": fault.sentence}
    if fault.remedy:
        body["remedy"] = fault.remedy
    headers = {"WWW-Authenticate": "Bearer"} if fault.status == 401 else {}
    return JSONResponse(body, fault.status, headers, media_type="application/problem+json")


_TOLD = {"model": Problem, "content": {"application/problem+json": {}}}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: _TOLD | {"description": "What was sent is not what it says it is."},
    401: _TOLD | {"description": "Nobody is signed in."},
    403: _TOLD | {"description": "You may not; the remedy is what grants it."},
    404: _TOLD | {"description": "There is none."},
    422: _TOLD | {"description": "What was sent cannot be meant."},
    503: _TOLD | {"description": "The API server does not answer."},
}


def _somebody(request: Request, x_csrf_token: Annotated[str, Header(include_in_schema=False)] = "") -> Session:
    hall: Hall = request.app.state.pages.hall
    session = hall.session_of(request, page=False)
    hall.must_be_ours(request, session, x_csrf_token)
    return session


def _neighbours(request: Request) -> Neighbours:
    found: Neighbours = request.app.state.pages.reports.neighbours
    return found


Someone = Annotated[Session, Depends(_somebody)]
Around = Annotated[Neighbours, Depends(_neighbours)]
router = APIRouter(prefix="/api/v1", responses=PROBLEMS)


@router.get("/me", summary="Who you are")
def me(session: Someone) -> Me:
    return Me(name=session.person.name, where=session.person.desk("").where)


@router.get("/plans", summary="Plans, and where their releases stand")
def plans(session: Someone, namespace: OfNamespace = "") -> list[OnePlan]:
    return [OnePlan(**plan_data(one)) for one in session.person.desk(namespace).plans()]


@router.post(
    "/plans/{namespace}/{name}/release",
    summary="Give it a new release",
    status_code=202,
    responses={409: _TOLD | {"description": "It asks for that release already."}},
)
def release(session: Someone, namespace: Namespace, name: OfPlan, said: Release) -> AskedFor:
    desk = session.person.desk(namespace)
    plan = plan_of(desk, namespace, name)
    version = carry_out_release(desk, plan, said.version, said.reason)
    return AskedFor(namespace=plan.namespace, plan=plan.name, former=plan.release, release=version)


@router.get("/runs", summary="Runs, the oldest first")
def runs(session: Someone, namespace: OfNamespace = "", plan: str = "") -> list[OneRun]:
    return [OneRun(**run_data(one)) for one in session.person.desk(namespace).runs(plan)]


@router.get("/runs/{namespace}/{name}", summary="A run in depth")
def run(session: Someone, namespace: Namespace, name: Name) -> RunInDepth:
    return RunInDepth(**depth_data(look(session.person.desk(namespace), namespace, name)))


@router.get("/runs/{namespace}/{name}/decisions", summary="What it decided, and why")
def decisions(session: Someone, namespace: Namespace, name: Name) -> list[OneDecision]:
    seen = look(session.person.desk(namespace), namespace, name)
    return [OneDecision(**decision_data(one)) for one in seen.decisions]


@router.get(
    "/runs/{namespace}/{name}/report",
    summary="The report",
    response_class=Response,
    responses={
        200: {
            "description": "docs/report.md lists the keys of the JSON.",
            "content": {
                "application/json": {"schema": {"type": "object"}},
                "text/html": {"schema": {"type": "string"}},
                "text/markdown": {"schema": {"type": "string"}},
            },
        }
    },
)
def report_of(
    session: Someone, neighbours: Around, namespace: Namespace, name: Name, form: Literal["json", "html", "md"] = "json"
) -> Response:
    desk = session.person.desk(namespace)
    seen = look(desk, namespace, name)
    known = desk.run(seen)
    text = report_with(known, desk.journal(seen), form, *neighbours(known))
    if form == "json":
        return Response(text, media_type="application/json")
    if form == "md":
        return PlainTextResponse(text, media_type="text/markdown")
    # A page of its own would lie under the page's policy; as a file it is opened under none.
    return HTMLResponse(text, headers={"Content-Disposition": f'attachment; filename="{seen.name}.html"'})


@router.get("/runs/{namespace}/{name}/commands", summary="What there is to say to it")
def possible(session: Someone, namespace: Namespace, name: Name) -> list[Possible]:
    desk = session.person.desk(namespace)
    seen = look(desk, namespace, name)
    known, _ = read(desk, seen)
    there = buttons(seen, known, session.person.name, lambda verb: lacking(session, namespace, verb), desk)
    return [
        Possible(verb=one.verb, possible=not one.why_not, why_not=one.why_not or None)  # type: ignore[arg-type]
        for one in there
    ]  # fmt: skip


@router.post(
    "/runs/{namespace}/{name}/commands",
    summary="Say something to it",
    status_code=202,
    responses={409: _TOLD | {"description": "It would do nothing as the run stands; the detail says why."}},
)
def say(session: Someone, namespace: Namespace, name: Name, said: Say) -> WrittenDown:
    desk = session.person.desk(namespace)
    seen = look(desk, namespace, name)
    known, _ = read(desk, seen, said.verb)
    order = Order(said.verb, " ".join(said.reason.split()), said.force, said.step, said.sure)
    command = carry_out(order, desk, seen, known, session.person.name)
    return WrittenDown(id=command.id, verb=command.verb, by=command.by)
