"""The settings about Prometheus: every way to say them, what is refused, and that no refusal repeats a secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from canaryd.model.problem import Refused
from canaryd.settings import Grafana, Kept, NamedSource, Neighbour, Settings, Source, Tracing, read_settings

ROOT = Path(__file__).parents[1]
SECRET = "hunter2"  # the one that everybody knows


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROMETHEUS", "PROMETHEUSES"):
        monkeypatch.delenv(f"CANARYD_{name}", raising=False)


def read(folder: Path, **content: Any) -> Settings:
    file = folder / "canaryd.yaml"
    file.write_text(yaml.safe_dump(content))
    return read_settings(file)


def refusal(folder: Path, **content: Any) -> str:
    with pytest.raises(Refused) as caught:
        read(folder, **content)
    seen: BaseException | None = caught.value
    while seen:  # a traceback shows each cause
        assert SECRET not in str(seen)
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return str(caught.value)


def test_a_url_is_short_for_a_mapping(tmp_path: Path) -> None:
    """As it always was."""
    url = "https://mimir.example/prometheus"
    assert read(tmp_path, prometheus=url).prometheus == read(tmp_path, prometheus={"url": url}).prometheus
    assert read(tmp_path, prometheus=url).prometheus.url == url


def test_yaml_s_own_types_are_text_in_headers_and_params(tmp_path: Path) -> None:
    """Nobody puts quotes around true."""
    source = {
        "url": "http://thanos",
        "params": {"dedup": True, "partial_response": False, "n": 5},
        "headers": {"X-Scope-OrgID": 7, "X-Key": {"from_env": "KEY"}},
    }
    found = read(tmp_path, prometheus=source).prometheus
    assert found.params == {"dedup": "true", "partial_response": "false", "n": "5"}
    assert found.headers == {"X-Scope-OrgID": "7", "X-Key": Kept(from_env="KEY")}


def test_the_environment_says_one_setting_or_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/prometheus.md lists it."""
    file = {"url": "https://file", "bearer_token_file": "/token"}
    monkeypatch.setenv("CANARYD_PROMETHEUS__CA", "/ca.crt")
    monkeypatch.setenv("CANARYD_PROMETHEUS__HEADERS", '{"X-Scope-OrgID": "shop"}')
    assert read(tmp_path, prometheus=file).prometheus == Source(
        url="https://file", bearer_token_file=Path("/token"), ca=Path("/ca.crt"), headers={"X-Scope-OrgID": "shop"}
    )
    monkeypatch.delenv("CANARYD_PROMETHEUS__CA")
    monkeypatch.delenv("CANARYD_PROMETHEUS__HEADERS")
    monkeypatch.setenv("CANARYD_PROMETHEUS", '{"url": "https://env", "params": {"dedup": "true"}}')
    monkeypatch.setenv("CANARYD_PROMETHEUSES", '{"payments": {"url": "https://p", "namespaces": ["payments"]}}')
    found = read_settings()
    assert found.prometheus == Source(url="https://env", params={"dedup": "true"})
    assert found.prometheuses == {"payments": NamedSource(url="https://p", namespaces=("payments",))}


def test_another_url_does_not_get_the_file_s_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--prometheus URL` at a shell would otherwise send the cluster's token there."""
    content = {"prometheus": {"url": "https://file", "bearer_token_file": "/token"}}
    file = tmp_path / "canaryd.yaml"
    file.write_text(yaml.safe_dump(content))
    assert read_settings(file, prometheus="http://said").prometheus == Source(url="http://said")
    monkeypatch.setenv("CANARYD_PROMETHEUS", "http://environment")
    assert read_settings(file).prometheus == Source(url="http://environment")


URL = {"url": "https://prometheus"}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"url": f"ftp://me:{SECRET}@x"}, "prometheus.url: "),
        ({"url": f"https://me:{SECRET}@x"}, "username and password_file keep it out of this file"),
        ({"url": f"https://x/?key={SECRET}"}, "query parameters belong in params"),
        ({"url": "https://x/prometheus/api/v1"}, "prometheus.url: the URL before /api/v1"),
        ({"ca": "/ca"}, "prometheus.url: a value, got nothing"),
        (URL | {"bearer_token": SECRET}, "prometheus.bearer_token: a setting that canaryd knows (did you mean bearer"),
        (URL | {"password": SECRET, "username": "me"}, "prometheus.password: a setting that canaryd knows"),
        (URL | {"headers": {"Authorization": f"Bearer {SECRET}"}}, "prometheus.headers.Authorization: from_env: VAR"),
        (URL | {"headers": {"X-Api-Key": SECRET}}, "prometheus.headers.X-Api-Key: from_env"),
        (URL | {"headers": {"Cookie": SECRET}}, "prometheus.headers.Cookie: from_env"),
        (URL | {"headers": {"X-Tenant": [SECRET]}}, "prometheus.headers.X-Tenant: text"),
        (URL | {"headers": {"X-Tenant": f"{SECRET}\nX-Evil: 1"}}, "prometheus.headers.X-Tenant: printable ASCII text"),
        (URL | {"headers": {"X Tenant": "a"}}, "prometheus.headers: names of letters"),
        (URL | {"headers": {"X-Key": {"from_env": "A", "from_file": "/b"}}}, "either from_env or from_file"),
        (URL | {"headers": {"X-Key": {"from_evn": "A"}}}, "(did you mean from_env?)"),
        (URL | {"params": {"query": "up"}}, "prometheus.params.query: another parameter"),
        (URL | {"params": {"apikey": SECRET}}, "prometheus.params.apikey: a header in its place"),
        (URL | {"username": "me"}, "prometheus.username: a password beside it"),
        (URL | {"password_env": "A"}, "prometheus.username: a name, since there is a password"),
        (URL | {"username": "me", "password_env": "A", "password_file": "/b"}, "in password_file or password_env"),
        (
            URL | {"username": "me", "password_env": "A", "bearer_token_file": "/b"},
            "one way to authenticate, got bearer",
        ),
        (URL | {"bearer_token_file": "/b", "headers": {"authorization": {"from_env": "A"}}}, "one way to authenticate"),
        (URL | {"key": "/key"}, "prometheus.cert: the certificate of the key"),
        (URL | {"ca": "/ca", "insecure_skip_verify": True}, "prometheus.insecure_skip_verify: false, since ca"),
        ({"url": "http://x", "ca": "/ca"}, "prometheus.ca: a url with https"),
        ([SECRET], "prometheus: a mapping with url, or a URL"),
        (None, "prometheus: a mapping with url, or a URL"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_path(tmp_path: Path, source: Any, words: str) -> None:
    """And a secret that somebody wrote where none belongs is not repeated."""
    assert words in refusal(tmp_path, prometheus=source)


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ({"a": URL}, "prometheuses.a.namespaces: a value, got nothing"),
        ({"a": URL | {"namespaces": []}}, "prometheuses.a.namespaces: a list with at least one item"),
        ({"A_b": URL | {"namespaces": ["x"]}}, "prometheuses.A_b: a name of small letters"),
        (
            {"a": URL | {"namespaces": ["x"], "default_for": ["y"]}},
            "prometheuses.a.default_for: namespaces that are in",
        ),
        (
            {name: URL | {"namespaces": ["*"], "default_for": ["x"]} for name in ("a", "b")},
            "prometheuses.b.default_for: one default for x, got a too",
        ),
        (
            {"a": URL | {"namespaces": ["x"], "headers": {"X-Token": SECRET}}},
            "prometheuses.a.headers.X-Token: from_env",
        ),
    ],
)
def test_named_ones_are_refused_alike(tmp_path: Path, sources: Any, words: str) -> None:
    """By their names."""
    assert words in refusal(tmp_path, prometheuses=sources)


def test_json_that_is_none_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment nothing checks it before; what it holds may be secret."""
    for name in ("CANARYD_PROMETHEUS", "CANARYD_PROMETHEUSES"):
        with monkeypatch.context() as patch:
            patch.setenv(name, f'{{"url": "https://me:{SECRET}@x"')
            with pytest.raises(Refused, match="JSON") as caught:
                read_settings()
            assert SECRET not in str(caught.value)


def test_the_file_shows_each_setting_of_a_source() -> None:
    """With its default, as it does with all others."""
    written = yaml.safe_load((ROOT / "config/canaryd.yaml").read_text())["prometheus"]
    assert list(written) == list(Source.model_fields)
    assert Source.model_validate(written) == Settings().prometheus


def test_the_page_about_prometheus_shows_settings_that_there_are(tmp_path: Path) -> None:
    """Each example is read as it stands."""
    blocks = (ROOT / "docs/prometheus.md").read_text().split("```yaml\n")[1:]
    assert len(blocks) >= 8
    for block in blocks:
        read(tmp_path, **yaml.safe_load(block.partition("```")[0]))


NEIGHBOURS = pytest.mark.parametrize("name", ["kiali", "grafana", "tracing"])


@NEIGHBOURS
def test_a_neighbour_is_a_url_without_anything_behind_it(tmp_path: Path, name: str) -> None:
    """People follow it; a password in it would be in every report."""
    assert getattr(read(tmp_path), name) is None
    assert getattr(read(tmp_path, **{name: "https://there.example/base/"}), name).url == "https://there.example/base"
    for wrong in ("there.example", "ftp://there", f"http://me:{SECRET}@there", "http://there/?a=b", "http://there/#c"):
        assert refusal(tmp_path, **{name: wrong}).startswith(f"{name}.url: ")
        assert refusal(tmp_path, **{name: {"url": wrong}}).startswith(f"{name}.url: ")
        assert refusal(tmp_path, **{name: {"url": "http://a", "public": wrong}}).startswith(f"{name}.public: ")


@NEIGHBOURS
def test_the_environment_says_a_neighbour_as_a_url_or_in_full(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it says a Prometheus."""
    monkeypatch.setenv(f"CANARYD_{name.upper()}", "http://inside/base")
    assert getattr(read(tmp_path), name).shown == "http://inside/base"
    monkeypatch.setenv(f"CANARYD_{name.upper()}", '{"url": "http://inside", "public": "https://outside/"}')
    found = getattr(read(tmp_path), name)
    assert (found.url, found.shown) == ("http://inside", "https://outside")


@pytest.mark.parametrize(
    ("neighbours", "words"),
    [
        ({"kiali": {"public": "https://outside"}}, "kiali.url: a value, got nothing"),
        ({"kiali": {"url": "http://a", "tokens": SECRET}}, "kiali.tokens: a setting that canaryd knows"),
        ({"kiali": {"url": "http://a", "ca": "/ca"}}, "kiali.ca: a url with https"),
        ({"kiali": [SECRET]}, "kiali: a mapping with url, or a URL"),
        ({"grafana": {"url": "http://a", "token": SECRET}}, "grafana.token: a mapping"),
        ({"grafana": {"url": "http://a", "token": {"from_fil": SECRET}}}, "(did you mean from_file?)"),
        ({"grafana": {"url": "http://a", "annotate": "perhaps"}}, "grafana.annotate: true or false, got 'perhaps'"),
        ({"grafana": {"url": "http://a", "annotate_on": "a/b"}}, "grafana.annotate_on: a uid of Grafana's: letters"),
        ({"tracing": {"url": "http://a", "api": "zipkin"}}, "tracing.api: "),
        ({"tracing": {"url": "http://a", "headers": {"Authorization": SECRET}}}, "tracing.headers.Authorization: from"),
    ],
)
def test_what_does_not_fit_a_neighbour_is_refused_with_its_path(tmp_path: Path, neighbours: Any, words: str) -> None:
    """And a secret that somebody wrote where none belongs is not repeated."""
    assert words in refusal(tmp_path, **neighbours)


def test_the_file_names_each_setting_of_a_neighbour() -> None:
    """In the comments, for there is none by default."""
    text = (ROOT / "config/canaryd.yaml").read_text()
    for model in (Neighbour, Grafana, Tracing):
        for name in model.model_fields:
            assert f"#   {name}: " in text, f"{model.__name__}.{name}"


def test_the_page_about_neighbours_shows_settings_that_there_are(tmp_path: Path) -> None:
    """Each example is read as it stands."""
    blocks = (ROOT / "docs/neighbours.md").read_text().split("```yaml\n")[1:]
    assert len(blocks) == 2
    for block in blocks:
        read(tmp_path, **yaml.safe_load(block.partition("```")[0]))


KEPT = {"from_env": "URL"}


@pytest.mark.parametrize(
    ("channel", "path", "said"),
    [
        ({"url": f"slack://{SECRET}/x/y"}, "channels.team.url", ""),
        ({"url": {"from_enf": "URL"}}, "channels.team.url.from_enf", "did you mean from_env?"),
        ({}, "channels.team.url", "either url (a service) or cloudevents (a receiver of yours)"),
        ({"url": KEPT, "cloudevents": "https://x.example/y", "key": KEPT}, "channels.team.url", "either url"),
        ({"url": KEPT, "key": KEPT}, "channels.team.key", "a service has all it needs in its url"),
        ({"url": KEPT, "headers": {"X-A": "b"}}, "channels.team.headers", "a service has all it needs in its url"),
        ({"cloudevents": "https://x.example/y"}, "channels.team.key", "from_env: VARIABLE or from_file: PATH"),
        ({"cloudevents": f"https://a:{SECRET}@x.example/y", "key": KEPT}, "channels.team.cloudevents", "a URL without"),
        ({"cloudevents": "ftp://x.example", "key": KEPT}, "channels.team.cloudevents", "a URL such as https://"),
        ({"cloudevents": "http://x.example", "key": KEPT, "ca": "/ca.pem"}, "channels.team.ca", "https"),
        (
            {"cloudevents": "http://x.example", "key": KEPT, "headers": {"Webhook-Id": "1"}},
            "channels.team.headers.",
            "",
        ),
        ({"cloudevents": "http://x.example", "key": KEPT, "headers": {"X-Token": SECRET}}, "channels.team.headers", ""),
        ({"cloudevent": "http://x.example", "key": KEPT}, "channels.team.cloudevent", "did you mean cloudevents?"),
        ({"url": KEPT, "namespaces": []}, "channels.team.namespaces", "a list with at least one item"),
        ({"url": KEPT, "timeout": 60}, "channels.team.timeout", ""),
    ],
)
def test_a_channel_that_cannot_be_used_is_refused(
    tmp_path: Path, channel: dict[str, Any], path: str, said: str
) -> None:
    """With the place and what belongs there, and without the secret that somebody wrote where none belongs."""
    problems = refusal(tmp_path, channels={"team": {"namespaces": ["*"], **channel}})
    assert path in problems
    assert said in problems


def test_channels_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As JSON, as for everything that has parts."""
    monkeypatch.setenv("CANARYD_CHANNELS", '{"team": {"url": {"from_file": "/x"}, "namespaces": ["shop"]}}')
    channel = read(tmp_path).channels["team"]
    assert channel.url == Kept(from_file=Path("/x"))
    assert (channel.allows("shop"), channel.allows("default")) == (True, False)
