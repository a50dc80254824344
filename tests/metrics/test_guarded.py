"""The adapter before a real Prometheus that does not let everybody in: what goes through, and what is said if not."""

from __future__ import annotations

import base64
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from canaryd.errors import CanarydError, Rejected, Unavailable
from canaryd.metrics.prometheus import MOST_SAID, Prometheus
from canaryd.model.cells import Cell, Sought
from canaryd.settings import Kept, Source
from tests.metrics.book import Book
from tests.metrics.guarded import PASSWORD, Authority, Guard, Proxy
from tests.metrics.load import Load
from tests.metrics.recorded import Recorded
from tests.metrics.worlds import RealWorld, closed_url, real_world, send, sought, window

NOW = 1_700_000_000.0
AT = window(NOW - 30, NOW - 15)
REVIEWS = Sought(
    ("reviews.default.svc.cluster.local",), "default", ("reviews-v1",), ("reviews-v3",), (2, 4, 12, 13, 14, 15), 15.0
)


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Guard:
    return Guard(tmp_path_factory.mktemp("guard"))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, guard: Guard) -> Iterator[RealWorld]:
    with real_world(tmp_path_factory.mktemp("prometheus"), guard) as world:
        yield world


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealWorld]:
    with real_world(tmp_path_factory.mktemp("plain")) as world:
        yield world


def said(source: Source | str, at: Any = AT) -> str:
    """What a cell says where it cannot be had."""
    with pytest.raises(CanarydError) as caught:
        Prometheus(source).count(REVIEWS, at)
    assert PASSWORD not in str(caught.value)
    return str(caught.value)


def answers(prometheus: Prometheus) -> None:
    """It lets us in, and knows the time."""
    assert prometheus._skewed(time.monotonic() + 5) is None


def changed(source: Source, **to: Any) -> Source:
    return Source.model_validate(source.model_dump(exclude_defaults=True) | to)


# -- TLS


def test_an_authority_that_is_not_trusted(guarded: RealWorld, tmp_path: Path) -> None:
    """The usual first error in a company with an authority of its own."""
    for ca in (None, Authority(tmp_path).ca):
        text = said(changed(guarded.source, ca=ca))
        assert "CERTIFICATE_VERIFY_FAILED" in text
        assert "set ca, in the settings, to a file with the authority" in text


def test_the_environment_s_authorities_do_not_go_before_ours(
    guarded: RealWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """requests would let REQUESTS_CA_BUNDLE win over a session's own."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(Authority(tmp_path).ca))
    answers(Prometheus(guarded.source))


def test_a_name_that_the_certificate_does_not_have(guarded: RealWorld) -> None:
    """A port-forward to localhost shows it."""
    text = said(changed(guarded.source, url=guarded.url.replace("127.0.0.1", "localhost")))
    assert "ask it under a name that its certificate has" in text


def test_whoever_answers_is_believed_only_when_that_is_said(
    guarded: RealWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    """And it is warned of."""
    source = changed(guarded.source, ca=None, insecure_skip_verify=True)
    answers(Prometheus(source))
    assert "prometheus.insecure" in "".join(capsys.readouterr())


def test_our_certificate_is_wanted(guarded: RealWorld) -> None:
    """Without it there is no answer, and TLS 1.3 says so only when the answer is read."""
    assert "it may want to see a certificate: set cert and key in the settings" in said(
        changed(guarded.source, cert=None, key=None)
    )


def test_our_certificate_of_another_authority(guarded: RealWorld, tmp_path: Path) -> None:
    """As after a change of authorities."""
    cert, key = Authority(tmp_path).issue("stranger")
    assert "it may not accept our certificate: see cert and key" in said(changed(guarded.source, cert=cert, key=key))


def test_our_certificate_is_replaced(guarded: RealWorld, guard: Guard, tmp_path: Path) -> None:
    """cert-manager does so every few weeks, and the old one is worth nothing afterwards."""
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    for made, place in zip(Authority(tmp_path / "other").issue("stranger"), (cert, key), strict=True):
        shutil.copy(made, place)
    prometheus = Prometheus(changed(guarded.source, cert=cert, key=key))
    with pytest.raises(Unavailable):
        prometheus.count(REVIEWS, AT)
    for made, place in zip(guard.authority.issue("fresh"), (cert, key), strict=True):
        made.replace(place)
    answers(prometheus)


def test_files_that_are_not_there(guarded: RealWorld, tmp_path: Path) -> None:
    """A mount that was forgotten: the path is in the sentence."""
    for setting in ("ca", "cert", "password_file"):
        gone = tmp_path / f"no-{setting}"
        text = said(changed(guarded.source, **{setting: gone}))
        assert str(gone) in text, text


def test_http_where_https_is_spoken_and_the_other_way_round(guarded: RealWorld, plain: RealWorld) -> None:
    """One letter."""
    assert "https:// instead of http://" in said(guarded.url.replace("https", "http"))
    assert "http:// instead of https://" in said(plain.url.replace("http", "https"))


# -- passwords and base paths


def test_a_password_that_is_not_accepted(guarded: RealWorld, tmp_path: Path) -> None:
    """The sentence says whose, and where it is kept."""
    wrong = tmp_path / "password"
    wrong.write_text("wrong-horse")
    text = said(changed(guarded.source, password_file=wrong))
    assert f"HTTP 401: Unauthorized (see that user canaryd is known there and that {wrong} has the password)" in text
    assert "wrong-horse" not in text


def test_no_password_at_all(guarded: RealWorld) -> None:
    """What to give is named by its setting."""
    text = said(changed(guarded.source, username="", password_file=None))
    assert "give prometheus.bearer_token_file, or prometheus.username and password_file" in text


def test_a_password_from_the_environment(guarded: RealWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is not set is told at the start."""
    source = changed(guarded.source, password_file=None, password_env="THE_PASSWORD")  # a name
    with pytest.raises(Rejected, match=r"prometheus\.password_env: an environment variable that is set"):
        Prometheus(source)
    monkeypatch.setenv("THE_PASSWORD", PASSWORD)
    answers(Prometheus(source))


def test_a_base_path_that_was_forgotten(guarded: RealWorld) -> None:
    """404 from whoever answers at the root."""
    text = said(changed(guarded.source, url=guarded.url.removesuffix("/team/prometheus")))
    assert "HTTP 404" in text
    assert "path prefix" in text


def test_a_person_is_told_how_to_ask_the_same(guarded: RealWorld, guard: Guard) -> None:
    """With the same files, and no secret in it."""
    [problem] = Prometheus(changed(guarded.source, url="https://127.0.0.1:1")).probe(REVIEWS)
    assert (
        f"curl --cacert {guard.authority.ca} --cert {guard.cert} --key {guard.key} -u canaryd 'https" in problem.remedy
    )


def test_netrc_is_not_read(plain: RealWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """requests would put its password in the place of our token."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    token = tmp_path / "token"
    token.write_text("the-token")
    with Proxy(plain.url, {"Authorization": "Bearer the-token"}) as proxy:
        answers(Prometheus(Source(url=proxy.url, bearer_token_file=token)))


# -- tokens and tenants, before a real Prometheus


def test_a_token_is_replaced_while_it_measures(plain: RealWorld, tmp_path: Path) -> None:
    """Once an hour for a projected token: the old one is refused from then on, and no cell is lost."""
    token = tmp_path / "token"
    token.write_text("first-token\n")
    with Proxy(plain.url, {"Authorization": "Bearer first-token"}) as proxy:
        prometheus = Prometheus(Source(url=proxy.url, bearer_token_file=token))
        to = sought()
        send(plain, to, "app-v1", 10)
        start = plain.edge()
        send(plain, to, "app-v1", 7)
        at = window(start, plain.edge())
        before = prometheus.count(to, at)
        assert isinstance(before, Cell)
        assert before.stable.requests == 7
        proxy.wanted["Authorization"] = "Bearer second-token"
        with pytest.raises(Rejected, match=f"the token in {token} is not accepted: has it expired"):
            prometheus.count(to, at)
        fresh = tmp_path / "fresh"
        fresh.write_text("second-token\n")
        fresh.replace(token)
        assert prometheus.count(to, at) == before


def test_a_token_that_was_replaced_while_we_asked_is_no_gap(plain: RealWorld, tmp_path: Path) -> None:
    """Between reading the file and the answer lies a moment; the question is asked once more, and only once."""
    token = tmp_path / "token"
    token.write_text("first-token")

    class Replacing(dict[str, str]):
        def items(self) -> Any:
            token.write_text("second-token")
            return super().items()

    with Proxy(plain.url, {}) as proxy:
        proxy.wanted = Replacing(Authorization="Bearer second-token")
        answers(Prometheus(Source(url=proxy.url, bearer_token_file=token)))
        assert proxy.statuses == [401, 200]


@pytest.mark.parametrize(
    ("content", "why"), [("", "is empty"), ("a-secret\nof two lines", "more than one line"), (None, "cannot be read")]
)
def test_a_token_that_is_none(tmp_path: Path, content: str | None, why: str) -> None:
    """The sentence names setting and file and repeats nothing of it."""
    token = tmp_path / "token"
    if content is not None:
        token.write_text(content)
    text = said(Source(url=closed_url(), bearer_token_file=token))
    assert f"prometheus.bearer_token_file: {token} " in text
    assert why in text
    assert "a-secret" not in text


def test_a_tenant_goes_along_and_is_asked_for(plain: RealWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mimir says "no org id", which nobody understands."""
    monkeypatch.setenv("TENANT_KEY", "the-key")
    headers = {"X-Scope-OrgID": "shop", "X-Api-Key": Kept(from_env="TENANT_KEY")}
    with Proxy(plain.url, {"X-Scope-OrgID": "shop", "X-Api-Key": "the-key"}, refusal="no org id") as proxy:
        assert "name the tenant in the settings' headers, such as X-Scope-OrgID" in said(proxy.url)
        source = Source(url=proxy.url, headers=headers, params={"dedup": "true"})
        answers(Prometheus(source))
        assert proxy.asked[-1] == "/api/v1/query?dedup=true"


def test_no_secret_comes_back_from_a_server_that_repeats_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debugging proxies print what they were shown; their answers end in logs, statuses and pages."""
    token, key = tmp_path / "token", tmp_path / "key"
    token.write_text("the-secret-token")
    key.write_text("the-secret-key")
    monkeypatch.setenv("SECRET_HEADER", "the-secret-header")
    pair = base64.b64encode(b"me:the-secret-password").decode()
    monkeypatch.setenv("SECRET_PASSWORD", "the-secret-password")
    headers = {"X-Key": Kept(from_file=key), "X-Header": Kept(from_env="SECRET_HEADER")}
    with Proxy(closed_url(), {"X-Never": "x"}, refusal="you showed {shown}") as proxy:
        ways = (
            Source(url=proxy.url, bearer_token_file=token, headers=headers),
            Source(url=proxy.url, username="me", password_env="SECRET_PASSWORD", headers=headers),
            Source(url=proxy.url.replace("//", "//me:the-secret-password@")),
        )
        for way in ways:
            [problem] = Prometheus(way).probe(REVIEWS)
            assert "***" in problem.value, "it was not repeated: this proves nothing"
            assert "the-secret" not in str(problem)
            assert pair not in str(problem)


def test_no_part_of_a_secret_is_left_where_a_long_answer_is_cut(tmp_path: Path) -> None:
    """Struck out first and cut then: half of a token is found with the other half."""
    token = tmp_path / "token"
    token.write_text("the-secret-token")
    with Proxy(closed_url(), {"X-Never": "x"}) as proxy:
        prometheus = Prometheus(Source(url=proxy.url, bearer_token_file=token))
        for before in range(MOST_SAID - len("Bearer the-secret-token"), MOST_SAID, 3):
            proxy.refusal = "x" * before + "{shown[Authorization]}"
            [problem] = prometheus.probe(REVIEWS)
            assert "x" * before in problem.value
            assert "the-" not in problem.value


# -- who is no Prometheus


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    """A login page of somebody else's would be shown our token."""
    token = tmp_path / "token"
    token.write_text("the-token")
    came: list[str] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(302 if len(came) == 1 else 308)
            there = (
                "https://login.example/?session=abc" if len(came) == 1 else f"https://{self.headers['Host']}{self.path}"
            )
            self.send_header("Location", there)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name there
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        source = Source(url=f"http://127.0.0.1:{server.server_address[1]}", bearer_token_file=token)
        text = said(source)
        assert "sends us on with HTTP 302 to https://login.example/ (" in text
        assert "abc" not in text
        assert "(https:// instead of http://)" in said(source)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert len(came) == 2


def test_a_login_page_is_named_and_not_quoted() -> None:
    """Two hundred characters of HTML in a status help nobody."""
    with Recorded(Book(), clock=lambda: NOW) as server:
        for status, error in ((299, Unavailable), (403, Rejected), (503, Unavailable)):
            page = b"<!DOCTYPE html>\n<html><head><title>\nLog in to Example</title></head><body>...</body></html>"
            server.status, server.body = status, page
            with pytest.raises(error, match='an HTML page, "Log in to Example"') as caught:
                Prometheus(server.url).count(REVIEWS, AT)
            assert "<" not in str(caught.value)


def test_what_victoriametrics_calls_partial_is_a_gap() -> None:
    """It has no warnings, but `isPartial` (app/vmselect/prometheus, query_response.qtpl)."""
    load = Load(since=NOW - 3600)
    load.turn(NOW - 600, share=0.1)

    class Partial(Recorded):
        def answer(self, form: dict[str, str]) -> tuple[int, bytes]:
            status, body = super().answer(form)
            return status, body.replace(b'{"status"', b'{"isPartial": true, "status"', 1)

    with Partial(load.book(15.0), clock=lambda: NOW) as server:
        found = Prometheus(server.url).count(REVIEWS, AT)
    assert "isPartial" in getattr(found, "why", "")


def test_a_server_that_hangs_up_is_a_sentence() -> None:
    """Whatever it is that was reached."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: listener.accept()[0].close())
        thread.start()
        text = said(f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
    assert "cannot be asked: " in text
