"""
What somebody else's page, plan, token or proxy can do to the page: nothing.

Each test was seen to fail with the guard that it is about taken out.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from canaryd.errors import Rejected
from canaryd.kube import connect
from canaryd.lab.kubernetes import ApiServer, Cluster
from canaryd.model.run import Outcome, Phase
from canaryd.web.coming import inside
from canaryd.web.guard import LARGEST, Addresses
from canaryd.web.people import Brought, NotLetIn, ProxyDoor, TokenDoor, networks
from canaryd.web.serving import Place as Listens
from canaryd.web.sessions import Sessions
from tests.desk.places import Place, in_cluster, in_folder, standing
from tests.web.stage import HERE, KEY, STANDING, Page, entered, own_page

RUN = "/runs/default/run-1"
ABORT = f"{RUN}/ask/abort"
EVIL = "https://evil.example"
TOKENS = {"token-of-ana": "ana", "token-of-ben": "ben"}
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = in_folder(tmp_path)
    found.put(standing(), STANDING)
    return found


@pytest.fixture
def page(place: Place) -> Page:
    return entered(place)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Place]:
    """A cluster that knows people by their tokens, with a run in it; the place is ana's."""
    with ApiServer(Cluster(), tokens=TOKENS) as server:
        found = in_cluster(server.kubeconfig(tmp_path / "kubeconfig", user="ana"))
        found.put(standing(), STANDING)
        yield found


@pytest.fixture
def shared(api: Place, tmp_path: Path) -> Page:
    """The page of a cluster, where everybody signs in with a token of their own; its own kubeconfig has none."""
    return Page(TokenDoor(_nobody(tmp_path)))


def _nobody(folder: Path) -> Any:
    text = (folder / "kubeconfig").read_text()
    (folder / "nobody").write_text(text.replace("token-of-ana", "of-nobody"))
    return connect(str(folder / "nobody"), timeout=10)


def sign_in(page: Page, token: str = "token-of-ana") -> None:
    assert page.post("/login", {"secret": token}).status_code == 303


# -- coming in


@pytest.mark.parametrize("path", ["/", "/runs", RUN, ABORT, f"{RUN}/report"])
def test_nobody_sees_anything_without_coming_in(place: Place, path: str) -> None:
    """Also on a laptop: the port is open to everybody on the machine."""
    answer = own_page(place).get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login")
    assert "reviews" not in answer.text


@pytest.mark.parametrize("path", ["/api/v1/plans", "/api/v1/runs", f"/api/v1{RUN}", f"/api/v1{RUN}/report"])
def test_no_program_does_either(place: Place, path: str) -> None:
    page = own_page(place)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {KEY}"}):
        answer = page.get(path, **headers)
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
    assert page.get(path, Authorization=f"Bearer {KEY}").status_code == 200


@pytest.mark.parametrize("key", ["", "wrong", KEY[:-1], f"{KEY} ", "ключ"])
def test_a_wrong_key_opens_nothing(place: Place, key: str) -> None:
    page = own_page(place)
    assert page.browser.get("/enter", params={"key": key}).status_code != 200
    assert page.post("/login", {"secret": key}).status_code == 401
    assert not page.browser.cookies


def test_a_token_is_the_persons_and_no_other_s(shared: Page, api: Place) -> None:
    """Who is at the page is who the API server says, and signs what they ask."""
    sign_in(shared, "token-of-ben")
    assert 'title="Signed in as ben"' in shared.get("/").text
    assert shared.say(ABORT, reason="enough").status_code == 303
    assert [one.by for one in api.commands("run-1")] == ["ben"]


@pytest.mark.parametrize("token", ["", "unknown", "two words", "x" * 20_000, "line\nbreak", "tökén"])
def test_a_token_that_nobody_knows_opens_nothing(shared: Page, token: str) -> None:
    answer = shared.post("/login", {"secret": token})
    assert answer.status_code == 401
    assert not shared.browser.cookies
    assert len(shared.sessions._open) == 0


def test_the_token_never_comes_back(shared: Page, caplog: pytest.LogCaptureFixture, capfd: Any) -> None:
    """Not in a page, a header, a cookie or a log."""
    caplog.set_level(logging.DEBUG)
    answers = [shared.post("/login", {"secret": "token-of-ana"})]
    answers += [shared.get(path) for path in ("/", RUN, ABORT, f"{RUN}/report", "/login", "/api/v1/me", "/nothing")]
    answers.append(shared.say(ABORT, reason="enough"))
    for answer in answers:
        assert "token-of-ana" not in answer.text + str(answer.headers)
    assert "token-of-ana" not in caplog.text + "".join(capfd.readouterr())


def test_the_key_is_not_in_a_page(page: Page) -> None:
    for path in ("/", RUN, ABORT, "/login"):
        assert KEY not in page.get(path).text


def test_a_proxy_may_bring_the_token_with_each_request(shared: Page, api: Place) -> None:
    """And when it brings another person's, the session of the one before is not theirs."""
    ana, ben = {"Authorization": "Bearer token-of-ana"}, {"Authorization": "Bearer token-of-ben"}
    assert "Signed in as ana" in shared.get("/", **ana).text
    cookie = shared.browser.cookies[shared.hall.cookie]
    assert "Signed in as ben" in shared.get("/", **ben).text
    assert shared.browser.cookies[shared.hall.cookie] != cookie
    csrf = re.search(r'name="csrf" value="([^"]+)"', shared.get(ABORT, **ben).text)
    assert csrf
    assert shared.post(ABORT, {"csrf": csrf[1]}, **ben).status_code == 303
    assert [one.by for one in api.commands("run-1")] == ["ben"]


def test_a_session_without_its_token_s_right_ends(shared: Page, api: Place) -> None:
    """The API server forgets the token: the next request is at the door again."""
    sign_in(shared)
    session = shared.sessions.find(shared.browser.cookies[shared.hall.cookie])
    assert session is not None
    assert api.kube is not None
    for desk in (session.person.desk("default"),):
        desk.kube._settings.api_key = {"authorization": "Bearer expired"}  # type: ignore[attr-defined]
    answer = shared.get(RUN)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/login?next={RUN.replace('/', '%2F')}")


# -- sessions


def test_a_session_ends_when_nothing_is_done(page: Page) -> None:
    """A page that renews itself is nothing done."""
    page.clock.seconds += page.sessions.idle - 1
    assert page.get("/").status_code == 200
    page.clock.seconds += page.sessions.idle - 1
    assert page.piece("/?renewing").status_code == 200
    page.clock.seconds += 2
    renewed = page.piece("/?renewing")
    assert (renewed.status_code, renewed.headers["hx-redirect"]) == (401, "/login")
    assert page.get("/").status_code == 303


def test_a_session_ends_after_a_day_s_work_whatever_is_done(page: Page) -> None:
    for _ in range(int(page.sessions.longest / 1000)):
        page.clock.seconds += 1000
        assert page.get("/").status_code == 200
    page.clock.seconds += 1000
    assert page.get("/").status_code == 303


def test_signing_out_ends_it_for_whoever_has_the_cookie(page: Page) -> None:
    cookie = page.browser.cookies[page.hall.cookie]
    assert page.post("/logout", {"csrf": page.csrf()}).status_code == 303
    thief = page.another()
    thief.cookies.set(page.hall.cookie, cookie)
    assert thief.get("/").status_code == 303


def test_there_is_an_end_to_how_many_sessions_are_kept(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("canaryd.web.sessions.MOST", 3)
    page = own_page(place)
    opened = [page.sessions.open(page.door.enter(KEY)) for _ in range(5)]
    assert [page.sessions.find(one.id) is not None for one in opened] == [False, False, True, True, True]


def test_the_cookie_is_for_this_site_and_no_script(place: Place) -> None:
    plain = own_page(place).get(f"/enter?key={KEY}").headers["set-cookie"]
    assert re.fullmatch(r"canaryd-8095=[\w-]{43}; HttpOnly; Path=/; SameSite=strict", plain)
    behind_tls = own_page(place, url="https://canaryd.example").get(f"/enter?key={KEY}").headers["set-cookie"]
    assert re.fullmatch(r"__Host-canaryd=[\w-]{43}; HttpOnly; Path=/; SameSite=strict; Secure", behind_tls)


def test_coming_in_makes_a_new_session(page: Page) -> None:
    """A number that somebody put into the browser beforehand is nobody's."""
    page.browser.cookies.set(page.hall.cookie, "fixed-by-somebody-else")
    page.get(f"/enter?key={KEY}")
    assert page.sessions.find("fixed-by-somebody-else") is None


# -- other sites


@pytest.mark.parametrize("csrf", ["", "wrong", "ключ"])
def test_a_form_without_this_session_s_token_does_nothing(page: Page, place: Place, csrf: str) -> None:
    for path in (ABORT, "/logout"):
        assert page.post(path, {"csrf": csrf}).status_code == 403
    assert place.commands("run-1") == ()
    assert page.get("/").status_code == 200


def test_another_session_s_token_does_nothing(page: Page, place: Place) -> None:
    other = entered(place)
    assert page.post(ABORT, {"csrf": other.csrf()}).status_code == 403
    assert place.commands("run-1") == ()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": EVIL},
        {"Origin": "null"},
        {"Origin": "http://localhost:8096"},
        {"Origin": "https://localhost:8095"},
        {"Origin": "http://localhost:8095.evil.example"},
        {"Origin": ""},
        {"Origin": "", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "", "Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_form_from_elsewhere_does_nothing(page: Page, place: Place, headers: dict[str, str]) -> None:
    """Even with the right token of the session: signing somebody in from elsewhere included."""
    csrf = page.csrf(ABORT)
    assert page.post(ABORT, {"csrf": csrf}, **headers).status_code == 403
    assert page.post("/login", {"secret": KEY}, **headers).status_code == 403
    assert place.commands("run-1") == ()


def test_a_browser_s_session_says_nothing_by_the_api_without_its_token(page: Page, place: Place) -> None:
    path, body = f"/api/v1{RUN}/commands", {"verb": "abort"}
    refused = page.browser.post(path, json=body, headers={"Origin": HERE})
    assert (refused.status_code, refused.json()["title"]) == (403, "Not from this page")
    csrf = page.csrf()
    assert page.browser.post(path, json=body, headers={"X-CSRF-Token": csrf, "Origin": EVIL}).status_code == 403
    ours = {"X-CSRF-Token": csrf, "Origin": HERE}
    assert page.browser.post(path, content=b"verb=abort", headers=ours).status_code == 422
    assert place.commands("run-1") == ()
    assert page.browser.post(path, json=body, headers=ours).status_code == 202


@pytest.mark.parametrize("host", ["evil.example", "localhost", "localhost:80", "127.0.0.1.evil.example:8095", ""])
def test_a_name_that_is_not_ours_is_refused(page: Page, host: str) -> None:
    """So that no page elsewhere can make its own name point here, and read."""
    assert page.get("/", Host=host).status_code == 421
    assert page.get("/static/page.js", Host=host).status_code == 421


@pytest.mark.parametrize(
    "path", ["/", RUN, ABORT, "/login", "/nothing", "/static/page.js", "/api/v1/plans", "/api/openapi.json"]
)
def test_nobody_frames_it_and_no_script_runs_but_ours(page: Page, path: str) -> None:
    headers = page.get(path).headers
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
    policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
    assert policy["frame-ancestors"] == "'none'"
    assert policy["default-src"] == policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["base-uri"] == "'none'"
    assert "access-control-allow-origin" not in headers
    if not path.startswith("/static/"):
        assert headers["cache-control"] == "no-store"


def test_a_refusal_is_hardened_too(page: Page) -> None:
    assert page.get("/", Host=EVIL).headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("path", ["/", RUN, ABORT, "/login", "/nothing"])
def test_pages_keep_to_their_own_policy(page: Page, path: str) -> None:
    """No script, style or handler within the page, and nothing from elsewhere: closed networks have no CDN."""
    text = page.get(path).text
    assert not re.search(r"<script(?![^>]* src=)", text)
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text)
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", text)


def test_no_api_page_loads_from_elsewhere(page: Page) -> None:
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert page.get(path).status_code == 404


def test_a_large_body_is_not_read(page: Page) -> None:
    assert page.post("/login", {"secret": "x" * (LARGEST + 1)}).status_code == 413

    def endless() -> Iterator[bytes]:
        yield from (b"secret=" + b"x" * 8192 for _ in range(100))

    kind = {"Content-Type": "application/x-www-form-urlencoded", "Origin": HERE}
    assert page.browser.post("/login", content=endless(), headers=kind).status_code == 400


# -- what others wrote


def test_hostile_words_stay_words(tmp_path: Path) -> None:
    """In a release, a reason, a decision, a search and a fault."""
    place = in_folder(tmp_path)
    run = standing(waiting=HOSTILE)
    spec = run.plan.spec.model_copy(update={"release": HOSTILE})
    run = standing(plan=run.plan.model_copy(update={"spec": spec}), waiting=HOSTILE)
    place.put(run, [{"at": 1_000_030.0, "phase": "baking", "split": 5000, "events": [["step.shifting", HOSTILE]]}])
    page = entered(place)
    pages = [
        page.get("/"),
        page.get("/runs"),
        page.get(RUN),
        page.get(ABORT),
        page.piece(RUN),
        page.browser.get("/", params={"q": HOSTILE, "namespace": HOSTILE, "phase": HOSTILE}),
        page.browser.get("/login", params={"next": HOSTILE}),
        page.say(f"{RUN}/ask/skip", step=HOSTILE, reason=HOSTILE),
        page.browser.get(f"/{HOSTILE}"),
    ]
    for answer in pages:
        text = answer.text
        assert "<script>alert" not in text
        assert "<img src=x" not in text
        assert "{{7*7}}" in text or "49" not in text
        assert answer.headers["content-type"].startswith("text/html")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.get(RUN).text


def test_a_reason_of_a_person_stays_words(place: Place, page: Page) -> None:
    page.say(ABORT, reason=HOSTILE)
    assert place.commands("run-1")[0].reason == HOSTILE
    ended: dict[str, Any] = {"phase": Phase.ROLLED_BACK, "outcome": Outcome.ABORTED, "ended": 1_000_060.0}
    place.move(standing(reason=HOSTILE, waiting="", **ended))
    for path in ("/", RUN):
        assert "<script>alert" not in page.get(path).text


@pytest.mark.parametrize(
    "target",
    [EVIL, "//evil.example", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)", "http:evil", "/\n/evil",
     "///evil.example", "/\t/evil.example", "", "runs"],
)  # fmt: skip
def test_signing_in_leads_nowhere_else(place: Place, target: str) -> None:
    assert inside(target) == "/"
    page = own_page(place)
    assert page.post("/login", {"secret": KEY, "next": target}).headers["location"] == "/"
    assert page.post("/theme", {"theme": "dark", "next": target}).headers["location"] == "/"


def test_signing_in_leads_back_to_where_somebody_was_going(place: Place) -> None:
    page = own_page(place)
    there = page.get(f"{RUN}?x=1").headers["location"]
    assert page.get(there).status_code == 200
    assert page.post("/login", {"secret": KEY, "next": f"{RUN}?x=1"}).headers["location"] == f"{RUN}?x=1"


def test_a_link_from_a_message_finds_the_session(page: Page) -> None:
    """A strict cookie does not come along from another site; the page asks itself once more, and then it does."""
    stranger = page.another()
    answer = stranger.get(RUN, headers={"Sec-Fetch-Site": "cross-site"})
    assert f'http-equiv="refresh" content="0;url={RUN}"' in answer.text
    assert stranger.get(RUN, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 303


# -- proxies


def proxied(folder: Path, peer: str, trusted: str = "10.0.3.0/24") -> Page:
    return Page(ProxyDoor(connect(str(folder / "kubeconfig"), timeout=10), networks([trusted])), peer=peer)


@pytest.mark.usefixtures("api")
def test_a_proxy_is_believed_from_its_address_alone(tmp_path: Path) -> None:
    said = {"X-Forwarded-User": "ben", "X-Forwarded-For": "10.0.3.7"}
    assert "Signed in as ben" in proxied(tmp_path, "10.0.3.7").get("/", **said).text
    assert "Signed in as ben" in proxied(tmp_path, "::ffff:10.0.3.7").get("/", **said).text
    for peer in ("10.0.4.7", "127.0.0.1", "not-an-address"):
        answer = proxied(tmp_path, peer).get("/", **said)
        assert (answer.status_code, "Signed in" in answer.text) == (401, False)


@pytest.mark.parametrize(
    "said",
    [
        {"X-Forwarded-User": "system:admin"},
        {"X-Forwarded-User": "system:serviceaccount:kube-system:x"},
        {"X-Forwarded-User": "ben", "X-Forwarded-Groups": "shop, system:masters"},
        {"X-Forwarded-Groups": "shop"},
        {"X-Forwarded-User": " "},
        {},
    ],
)
@pytest.mark.usefixtures("api")
def test_a_proxy_says_who_a_person_is_and_nothing_more(tmp_path: Path, said: dict[str, str]) -> None:
    assert proxied(tmp_path, "10.0.3.7").get("/", **said).status_code == 401


@pytest.mark.usefixtures("api")
def test_a_proxied_person_s_groups_go_along(tmp_path: Path) -> None:
    door = proxied(tmp_path, "10.0.3.7").door
    person = door.brought(Brought({"x-forwarded-user": "ben", "x-forwarded-groups": "shop,leads"}, "10.0.3.7"))
    assert person is not None
    headers = person.desk("default").kube._headers()  # type: ignore[attr-defined]
    assert headers["Impersonate-User"] == "ben"
    assert headers.getlist("Impersonate-Group") == ["shop", "leads", "system:authenticated"]
    with pytest.raises(NotLetIn):
        door.enter("token-of-ana")


# -- where it listens


@pytest.mark.parametrize(
    ("auth", "host", "url", "said"),
    [
        ("kubeconfig", "0.0.0.0", "", "--auth bearer"),
        ("kubeconfig", "0.0.0.0", "http://localhost:8095", "--auth bearer"),
        ("bearer", "0.0.0.0", "", "--url"),
        ("bearer", "0.0.0.0", "http://canaryd.example", "tokens would travel in clear"),
        ("bearer", "0.0.0.0", "ftp://canaryd.example", "expected the root of a site"),
        ("bearer", "0.0.0.0", "https://canaryd.example/ui", "expected the root of a site"),
        ("bearer", "0.0.0.0", "canaryd.example", "expected the root of a site"),
    ],
)
def test_it_does_not_lie_open(auth: Any, host: str, url: str, said: str) -> None:
    with pytest.raises(Rejected, match=re.escape(said)):
        Listens(host, 8095, url).addresses(auth)


def test_where_it_may_listen() -> None:
    own = Listens("127.0.0.1", 8095).addresses("kubeconfig")
    assert own == Addresses(frozenset({"http://127.0.0.1:8095", "http://localhost:8095", "http://[::1]:8095"}))
    shared = Listens("0.0.0.0", 8095, "https://canaryd.example").addresses("bearer")
    assert (shared.hosts, shared.secure, own.secure) == (frozenset({"canaryd.example"}), True, False)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "proxy", "10.0.0.300", ""])
def test_a_proxy_s_address_is_one(text: str) -> None:
    with pytest.raises(Rejected, match="expected an address or a network"):
        networks([text])


def test_sessions_are_swept(place: Place) -> None:
    sessions = Sessions(clock=lambda: 0.0)
    page = own_page(place)
    assert sessions.find(sessions.open(page.door.enter(KEY)).id) is not None
