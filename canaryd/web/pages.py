"""The pages. Each is made anew for each request, from what the desk says at that moment."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Form, Path, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from canaryd import __version__
from canaryd.app import report_with
from canaryd.desk import ClusterDesk, NotGranted
from canaryd.desk.asking import OF_THE_ENDED
from canaryd.report.style import DARK, LIGHT, SHAPES, STYLE
from canaryd.web.acting import LABELS, LONGEST_REASON, Idle, Unsure, buttons, carry_out, order_of, question
from canaryd.web.coming import RENEWING, Hall, inside
from canaryd.web.faults import Fault, NotThere, fault_of
from canaryd.web.guard import HEALTH
from canaryd.web.listing import Row, Wanted, chosen, plan_rows, run_rows
from canaryd.web.people import NotLetIn
from canaryd.web.releasing import LONGEST_VERSION, carry_out_release, plan_of, release_question
from canaryd.web.reporting import Reports
from canaryd.web.seen import look, read, view
from canaryd.web.sessions import Asked, Session, lacking

Theme = Literal["light", "dark", "auto"]
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$"
"""Of a namespace or a run; no path leads anywhere else."""
Namespace = Annotated[str, Path(pattern=NAME)]
Name = Annotated[str, Path(pattern=NAME)]
PHASES = (
    *("pending", "shifting", "baking", "held", "promoting", "watching"),
    *("returning", "promoted", "rolling back", "rolled back"),
)


def environment() -> Environment:
    """Jinja2 with everything escaped; what is HTML already was made as a tree, by the report."""
    made = Environment(loader=PackageLoader("canaryd.web"), autoescape=True, undefined=StrictUndefined)
    made.trim_blocks = made.lstrip_blocks = True
    made.filters["as_made"] = Markup  # the report's own rendering of a tree
    made.filters["address"] = lambda text: quote(str(text), safe="")
    made.globals.update(
        version=__version__, phases=PHASES, longest_reason=LONGEST_REASON, longest_version=LONGEST_VERSION
    )
    return made


def colours() -> str:
    """The report's style, with a switch for its colours: ``data-theme`` on the root says which, else the system."""
    return (
        f":root {{ {LIGHT} color-scheme: light; }}\n"
        f'@media (prefers-color-scheme: dark) {{ :root:not([data-theme="light"]) {{ {DARK} color-scheme: dark; }} }}\n'
        f':root[data-theme="dark"] {{ {DARK} color-scheme: dark; }}\n{SHAPES}'
    )


_REPORTS_OWN = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
REPORT_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_REPORTS_OWN}'; frame-ancestors 'none'; base-uri 'none'; sandbox"
)
"""The report is a file of its own: it has one style sheet inside, and nothing else."""


@dataclass(frozen=True, slots=True)
class Pages:
    """Templates, and everything a page is made with."""

    hall: Hall
    templates: Environment
    reports: Reports
    now: Callable[[], float] = time.time

    def page(
        self, request: Request, template: str, session: Session | None = None, status: int = 200, **more: Any
    ) -> HTMLResponse:
        """A page for somebody, or nobody."""
        theme = request.cookies.get("theme", "auto")
        context = {
            "theme": theme if theme in ("light", "dark") else "auto",
            "session": session,
            "me": session.person.name if session else "",
            "csrf": session.csrf if session else "",
            "door": self.hall.door,
            "here": request.url.path,
        }
        return HTMLResponse(self.templates.get_template(template).render(context | more), status)

    def fault(self, request: Request, fault: Fault) -> Response:
        """The page of something that went wrong."""
        if is_piece(request):
            return HTMLResponse(
                self.templates.get_template("_fault.html").render(fault=fault), fault.status, {"HX-Reswap": "none"}
            )
        return self.page(request, "fault.html", None, fault.status, fault=fault)

    def at_the_door(self, request: Request, fault: Fault) -> Response:
        """What somebody gets who is not signed in: the way in, and back to where they were going."""
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        if is_piece(request):
            return Response(status_code=401, headers={"HX-Redirect": "/login"})
        if request.method == "GET" and request.headers.get("sec-fetch-site") == "cross-site":
            # A strict cookie does not come along with a link from elsewhere; it does with our own next request.
            return self.page(request, "again.html", target=inside(target))
        if self.hall.door.shows:
            return RedirectResponse(f"/login?{urlencode({'next': target})}" if target != "/" else "/login", 303)
        return self.page(request, "fault.html", None, 401, fault=fault)


def is_piece(request: Request) -> bool:
    """Whether a part of a page is asked for, by the page itself."""
    return request.headers.get("hx-request") == "true"


def _pages(request: Request) -> Pages:
    pages: Pages = request.app.state.pages
    return pages


def _somebody(request: Request) -> Session:
    return _pages(request).hall.session_of(request, page=True)


def _acting(request: Request, csrf: Annotated[str, Form()] = "") -> Session:
    """Who sends a form, which must be one of their session's."""
    hall = _pages(request).hall
    session = hall.session_of(request, page=True)
    hall.must_be_ours(request, session, csrf)
    return session


Made = Annotated[Pages, Depends(_pages)]
Someone = Annotated[Session, Depends(_somebody)]
Actor = Annotated[Session, Depends(_acting)]
router = APIRouter(include_in_schema=False)


@router.get(HEALTH)
def healthy() -> Response:
    return PlainTextResponse("ok\n")


@router.get("/static/colours.css")
def style() -> Response:
    return Response(colours(), media_type="text/css")


# -- coming and going


@router.get("/login")
def login(pages: Made, request: Request, next: str = "/") -> Response:  # noqa: A002  # it is called so everywhere
    return pages.page(request, "login.html", target=inside(next), fault=None)


@router.post("/login")
def enter(
    pages: Made,
    request: Request,
    secret: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",  # noqa: A002  # as above
) -> Response:
    return _enter(pages, request, secret, inside(next))


@router.get("/enter")
def enter_by_address(pages: Made, request: Request, key: str = "") -> Response:
    if pages.hall.door.shows != "key":
        raise NotThere("there is no such page")
    return _enter(pages, request, key, "/")


@router.post("/logout")
def leave(pages: Made, session: Actor) -> Response:
    pages.hall.sessions.end(session.id)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(
        pages.hall.cookie, path="/", secure=pages.hall.addresses.secure, httponly=True, samesite="strict"
    )
    return answer


@router.post("/theme")
def theme(
    pages: Made,
    theme: Annotated[Theme, Form()],
    next: Annotated[str, Form()] = "/",  # noqa: A002  # as above
) -> Response:
    """A cookie of no secret: which colours this browser wants."""
    answer = RedirectResponse(inside(next), 303)
    answer.set_cookie(
        "theme", theme, 365 * 86400, secure=pages.hall.addresses.secure, httponly=True, samesite="strict"
    )  # fmt: skip
    return answer


# -- the list


@router.get("/")
@router.get("/runs")
def overview(
    pages: Made, request: Request, session: Someone, q: str = "", namespace: str = "", phase: str = "", live: str = ""
) -> Response:
    wanted = Wanted(q.strip()[:200], namespace.strip()[:253], phase, live == "yes")
    every = request.url.path == "/runs"
    rows, fault = _rows(session, every, wanted.namespace, pages.now())
    answer = pages.page(
        request,
        "_list.html" if is_piece(request) else "list.html",
        session,
        wanted=wanted,
        every=every,
        rows=chosen(rows, wanted),
        total=len(rows),
        fault=fault,
        where=session.person.desk(wanted.namespace).where,
        releases=not every and isinstance(session.person.desk(wanted.namespace), ClusterDesk),
        namespaces=sorted({row.namespace for row in rows}),
    )
    if is_piece(request) and RENEWING not in request.query_params:
        kept = {
            "q": wanted.text,
            "namespace": wanted.namespace,
            "phase": phase,
            "live": "yes" if wanted.live else "",
        }
        query = urlencode({key: value for key, value in kept.items() if value})
        answer.headers["HX-Replace-Url"] = request.url.path + (f"?{query}" if query else "")
    return answer


# -- a release


@router.get("/plans/{namespace}/{name}/release")
def ask_release(pages: Made, request: Request, session: Someone, namespace: Namespace, name: Name) -> Response:
    return _release_question(pages, request, session, namespace, name)


@router.post("/plans/{namespace}/{name}/release")
def release(
    pages: Made, request: Request, session: Actor, namespace: Namespace, name: Name,
    version: Annotated[str, Form()] = "", reason: Annotated[str, Form()] = "",
) -> Response:  # fmt: skip
    desk = session.person.desk(namespace)
    try:
        carry_out_release(desk, plan_of(desk, namespace, name), version, reason)
    except (Idle, Unsure, NotGranted) as error:
        given = {"version": version, "reason": reason}
        return _release_question(pages, request, session, namespace, name, given, fault_of(error))
    return RedirectResponse(f"/?{urlencode({'q': name, 'namespace': namespace})}", 303)


def _release_question(
    pages: Pages, request: Request, session: Session, namespace: str, name: str,
    given: dict[str, str] | None = None, fault: Fault | None = None,
) -> Response:  # fmt: skip
    desk = session.person.desk(namespace)
    asks = release_question(desk, plan_of(desk, namespace, name), lacking(session, namespace, "release"))
    template = "_release.html" if is_piece(request) else "release.html"
    status = fault.status if fault else 200
    return pages.page(request, template, session, status, asks=asks, given=given or {}, fault=fault)


# -- a run


@router.get("/runs/{namespace}/{name}")
def run(pages: Made, request: Request, session: Someone, namespace: Namespace, name: Name) -> Response:
    shown = view(session, namespace, name, pages.now(), pages.reports)
    if not is_piece(request):
        return pages.page(request, "run.html", session, view=shown)
    have = request.query_params.get("have")
    if have is None:
        return pages.page(request, "_run.html", session, view=shown)
    # The parts are the most of the page, and change seldom: who has them gets nothing.
    return Response(status_code=204) if have == shown.mark else pages.page(request, "_parts.html", session, view=shown)


@router.get("/runs/{namespace}/{name}/report")
def report_of(pages: Made, session: Someone, namespace: Namespace, name: Name) -> Response:
    desk = session.person.desk(namespace)
    seen = look(desk, namespace, name)
    known = desk.run(seen)
    links, traces = pages.reports.neighbours(known)
    text = report_with(known, desk.journal(seen), "html", links, traces)
    return HTMLResponse(text, headers={"Content-Security-Policy": REPORT_POLICY})


@router.get("/runs/{namespace}/{name}/ask/{verb}")
def ask(pages: Made, request: Request, session: Someone, namespace: Namespace, name: Name, verb: str) -> Response:
    return _question(pages, request, session, namespace, name, verb)


@router.post("/runs/{namespace}/{name}/ask/{verb}")
def say(
    pages: Made, request: Request, session: Actor, namespace: Namespace, name: Name, verb: str,
    reason: Annotated[str, Form()] = "", step: Annotated[str, Form()] = "",
    force: Annotated[str, Form()] = "", sure: Annotated[str, Form()] = "",
) -> Response:  # fmt: skip
    if verb not in LABELS:
        raise NotThere(f"there is no word {verb}")
    given = {"reason": reason, "step": step, "force": force, "sure": sure}
    desk = session.person.desk(namespace)
    seen = look(desk, namespace, name)
    known, _ = read(desk, seen, verb)
    try:
        command = carry_out(order_of(verb, given), desk, seen, known, session.person.name)
    except (Idle, Unsure, NotGranted) as error:
        return _question(pages, request, session, namespace, name, verb, given, fault_of(error))
    session.asked[seen.place] = Asked(command.id, verb, pages.now(), seen.decisions)
    return RedirectResponse(f"/runs/{namespace}/{name}", 303)


def _question(
    pages: Pages, request: Request, session: Session, namespace: str, name: str, verb: str,
    given: dict[str, str] | None = None, fault: Fault | None = None,
) -> Response:  # fmt: skip
    desk = session.person.desk(namespace)
    seen = look(desk, namespace, name)
    known, _ = read(desk, seen)
    there = buttons(seen, known, session.person.name, lambda one: lacking(session, namespace, one), desk)
    button = next((one for one in there if one.verb == verb), None)
    if button is None:
        why = "has not ended" if verb in OF_THE_ENDED else "has ended"
        raise Idle(f"run {seen.name} {why}") if verb in LABELS else NotThere(f"there is no word {verb}")
    template = "_ask.html" if is_piece(request) else "ask.html"
    asks = question(verb, seen, known, button)
    status = fault.status if fault else 200
    return pages.page(
        request, template, session, status, asks=asks, seen=seen, given=given or {}, fault=fault
    )  # fmt: skip


def _enter(pages: Pages, request: Request, secret: str, target: str) -> Response:
    """Let somebody in, to ``target``; or the way in once more, and why."""
    try:
        person = pages.hall.door.enter(secret)
    except NotLetIn as error:
        return pages.page(request, "login.html", None, 401, target=target, fault=fault_of(error))
    request.state.begun = pages.hall.sessions.open(person)
    return RedirectResponse(target, 303)


def _rows(session: Session, every: bool, namespace: str, now: float) -> tuple[tuple[Row, ...], Fault | None]:
    """The rows, or none and why they may not be seen: whoever may see one namespace only can still name it."""
    desk = session.person.desk(namespace)
    try:
        return (run_rows(desk.runs(), now) if every else plan_rows(desk.plans(), now)), None
    except NotGranted as error:
        return (), fault_of(error)
