"""
The daemon's settings: a YAML file, then the environment (``CANARYD_<NAME>``), then what the command line says.

``config/canaryd.yaml`` shows every one of them with its default. What is about one rollout belongs in its plan.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)
from yaml import YAMLError

from canaryd.errors import Unavailable
from canaryd.model.part import Name
from canaryd.model.problem import Problem, Refused

EVERY = "*"
"""In a list of namespaces: each there is."""
OURS = frozenset({"query", "time", "start", "end", "step", "timeout"})
"""Query parameters that canaryd sets itself."""
SECRET = re.compile(r"auth|cookie|token|secret|passw|credential|api-?_?key|private-?_?key|assertion", re.IGNORECASE)
"""In the name of a header or parameter: its value is nothing for a settings file."""
SIGNED = frozenset(
    {
        "content-type",
        "content-length",
        "host",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "canaryd-attempt",
    }
)
"""Headers of a webhook's request that canaryd sets itself."""
HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, 5.1: a field's name is a token."""
UID = re.compile(r"[A-Za-z0-9_-]{0,40}")
"""What Grafana takes for a uid, or nothing."""


class Fixed(BaseModel):
    """A part of the settings: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Kept(Fixed):
    """Where a value is kept that is not written here: one of the two."""

    from_env: str = ""
    """The environment variable that has it."""
    from_file: Path | None = None
    """The file that holds it; read anew for each request."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if bool(self.from_env) == (self.from_file is not None):
            raise ValueError("either from_env or from_file")
        return self

    def read(self) -> str:
        """What is kept there now. Raises Unavailable, which repeats nothing of it, where that cannot be read."""
        try:
            found = self.from_file.read_text(encoding="utf-8") if self.from_file else os.environ[self.from_env]
        except KeyError:
            raise Unavailable(f"the environment variable {self.from_env} is not set") from None
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise Unavailable(f"{self.from_file} cannot be read: {why}") from None
        return found.strip()


def _parts(url: str, example: str) -> SplitResult:
    """The parts of a URL at which something can answer. Raises ValueError with the example."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"a URL such as {example}")
    return parts


def _link(url: str) -> str:
    parts = _parts(url, "http://kiali.istio-system:20001/kiali")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("the URL under which people find it, without ?, # and password")
    return url.rstrip("/")


def _ca_for(url: str, ca: Path | None) -> None:
    """Raises ValueError for authorities that nobody asks for."""
    if ca and urlsplit(url).scheme == "http":
        raise ValueError("ca: a url with https, without which it has no use")


def _url(url: str) -> str:
    parts = _parts(url, "http://prometheus.istio-system:9090")
    if parts.query or parts.fragment:
        raise ValueError("a URL without ? and #: query parameters belong in params")
    if "/api/v1" in parts.path:
        raise ValueError("the URL before /api/v1, such as https://mimir.example/prometheus")
    return url


def _receiver(url: str) -> str:
    parts = _parts(url, "https://change-board.example/canaryd")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("a URL without ?, # and password: what is secret belongs in headers")
    return url


Link = Annotated[str, AfterValidator(_link)]


def _text(value: object) -> object:
    """YAML reads ``true`` and ``300`` where a query has text."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


Header = Annotated[
    Annotated[str, BeforeValidator(_text), Tag("<text>")] | Annotated[Kept, Tag("<kept>")],
    Discriminator(lambda value: "<kept>" if isinstance(value, Mapping | Kept) else "<text>"),
]


def _plain_headers(headers: Mapping[str, str | Kept]) -> None:
    """Raises ValueError where one of them cannot be a header, or has a secret written out."""
    for name, value in headers.items():
        if not HEADER.fullmatch(name):
            raise ValueError("headers: names of letters, digits and hyphens")
        if isinstance(value, str) and SECRET.search(name):
            raise ValueError(
                f"headers.{name}: from_env: VARIABLE or from_file: PATH, because a secret is nothing for this file"
            )
        if isinstance(value, str) and not (value.isascii() and value.isprintable() and value.strip() == value):
            raise ValueError(f"headers.{name}: printable ASCII text")


class Source(Fixed):
    """A Prometheus, or what answers like one, and how it is reached."""

    url: Annotated[str, AfterValidator(_url)]
    """Where its API begins: the URL under which /api/v1/query answers."""
    ca: Path | None = None
    """A file (PEM) with the authorities that its certificate is trusted by, instead of the system's."""
    cert: Path | None = None
    """A file (PEM) with the certificate that we show."""
    key: Path | None = None
    """A file (PEM) with that certificate's key; may be left out where ``cert`` holds it too."""
    insecure_skip_verify: bool = False
    """Believe whoever answers. Anybody on the way can then decide what is promoted."""
    bearer_token_file: Path | None = None
    """A file with the token that goes along as ``Authorization: Bearer``; read anew for each request."""
    username: str = ""
    """The user's name, for basic authentication."""
    password_file: Path | None = None
    """A file with the password; read anew for each request."""
    password_env: str = ""
    """The environment variable with the password, instead of a file."""
    headers: dict[str, Header] = {}  # pydantic copies it
    """Headers that go with each request: text, ``from_env: NAME`` or ``from_file: PATH``."""
    params: dict[str, Annotated[str, BeforeValidator(_text)]] = {}  # pydantic copies it
    """Parameters that go with each query."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme == "http" and (given := self._of_tls):
            raise ValueError(f"{given}: a url with https, without which it has no use")
        if self.key and not self.cert:
            raise ValueError("cert: the certificate of the key")
        if self.ca and self.insecure_skip_verify:
            raise ValueError("insecure_skip_verify: false, since ca says whom to trust")
        if self.username and bool(self.password_file) == bool(self.password_env):
            raise ValueError("username: a password beside it, in password_file or password_env")
        if not self.username and (self.password_file or self.password_env):
            raise ValueError("username: a name, since there is a password")
        ways = [
            way
            for way, given in (
                ("bearer_token_file", self.bearer_token_file),
                ("username", self.username),
                ("headers.Authorization", any(name.lower() == "authorization" for name in self.headers)),
                ("the url's own password", parts.username is not None),
            )
            if given
        ]
        if len(ways) > 1:
            raise ValueError(f"{ways[1]}: one way to authenticate, got {' and '.join(ways)}")
        return self

    @model_validator(mode="after")
    def _plain(self) -> Self:
        _plain_headers(self.headers)
        for name in self.params:
            if name in OURS:
                raise ValueError(f"params.{name}: another parameter, this one is canaryd's own")
            if SECRET.search(name):
                raise ValueError(f"params.{name}: a header in its place: what is in a URL ends in other people's logs")
        return self

    @property
    def _of_tls(self) -> str:
        """The setting that has a meaning with TLS only; empty if there is none."""
        given = (("ca", self.ca), ("cert", self.cert), ("insecure_skip_verify", self.insecure_skip_verify))
        return next((name for name, value in given if value), "")


class Webhook(Fixed):
    """A receiver that gates may ask, and how it is reached. A plan names it, and can say nothing of all this."""

    url: Annotated[str, AfterValidator(_receiver)]
    """Where it answers; no redirect is followed."""
    namespaces: Annotated[tuple[str, ...], Field(min_length=1)]
    """The namespaces whose plans may ask it; "*" for each there is."""
    key: Kept
    """The key that every request is signed with (HMAC-SHA-256); read anew for each."""
    timeout: Annotated[float, Field(gt=0, le=15)] = 5.0
    """Seconds that one request may take."""
    every: Annotated[float, Field(ge=1, le=600)] = 15.0
    """Seconds after which a receiver that said "not yet", or a no that is held for, is asked again."""
    ca: Path | None = None
    """A file (PEM) with the authorities that its certificate is trusted by, instead of the system's."""
    headers: dict[str, Header] = {}  # pydantic copies it
    """Headers that go with each request: text, ``from_env: NAME`` or ``from_file: PATH``."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        _ca_for(self.url, self.ca)
        for name in self.headers:
            if name.lower() in SIGNED:
                raise ValueError(f"headers.{name}: another header, this one is canaryd's own")
        return self

    @model_validator(mode="after")
    def _plain(self) -> Self:
        _plain_headers(self.headers)
        return self

    def allows(self, namespace: str) -> bool:
        """Whether a plan of ``namespace`` may ask it."""
        return EVERY in self.namespaces or namespace in self.namespaces


class Channel(Fixed):
    """
    Who is told of runs, and how. A plan names it, and can say nothing of all this.

    Either a service (``url``), or a receiver of CloudEvents (``cloudevents``) with a key.
    """

    namespaces: Annotated[tuple[str, ...], Field(min_length=1)]
    """The namespaces whose plans may use it; "*" for each there is."""
    url: Kept | None = None
    """Where an Apprise URL is kept (slack://..., mailtos://..., pagerduty://...): it has the service's secret in it."""
    cloudevents: Annotated[str, AfterValidator(_receiver)] | None = None
    """Where CloudEvents are posted to; no redirect is followed."""
    key: Kept | None = None
    """The key that each of them is signed with (HMAC-SHA-256); read anew for each."""
    timeout: Annotated[float, Field(gt=0, le=15)] = 5.0
    """Seconds that one request with a CloudEvent may take."""
    ca: Path | None = None
    """A file (PEM) with the authorities that its certificate is trusted by, instead of the system's."""
    headers: dict[str, Header] = {}  # pydantic copies it
    """Headers that go with each request: text, ``from_env: NAME`` or ``from_file: PATH``."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.url is None) == (self.cloudevents is None):
            raise ValueError("url: either url (a service) or cloudevents (a receiver of yours)")
        if self.url is not None:
            of_events = (("key", self.key), ("ca", self.ca), ("headers", self.headers))
            if given := next((name for name, value in of_events if value), ""):
                raise ValueError(f"{given}: cloudevents beside it; a service has all it needs in its url")
        elif self.key is None:
            raise ValueError("key: from_env: VARIABLE or from_file: PATH, because a receiver must be able to tell")
        if self.ca and urlsplit(self.cloudevents or "").scheme == "http":
            raise ValueError("ca: a cloudevents with https, without which it has no use")
        for name in self.headers:
            if name.lower() in SIGNED:
                raise ValueError(f"headers.{name}: another header, this one is canaryd's own")
        _plain_headers(self.headers)
        return self

    def allows(self, namespace: str) -> bool:
        """Whether a plan of ``namespace`` may use it."""
        return EVERY in self.namespaces or namespace in self.namespaces


class NamedSource(Source):
    """A further Prometheus, by which plans of some namespaces are measured."""

    namespaces: Annotated[tuple[str, ...], Field(min_length=1)]
    """The namespaces whose plans may name it; "*" for each there is."""
    default_for: tuple[str, ...] = ()
    """The namespaces whose plans are measured by it without naming it."""

    @model_validator(mode="after")
    def _default_where_allowed(self) -> Self:
        for namespace in self.default_for:
            if not self.allows(namespace):
                raise ValueError(f"default_for: namespaces that are in namespaces too, got {namespace}")
        return self

    def allows(self, namespace: str) -> bool:
        """Whether a plan of ``namespace`` may name it."""
        return EVERY in self.namespaces or namespace in self.namespaces


def _uid(text: str) -> str:
    if not UID.fullmatch(text):
        raise ValueError("a uid of Grafana's: letters, digits, _ and -, 40 at most")
    return text


Uid = Annotated[str, AfterValidator(_uid)]


class Neighbour(Fixed):
    """Something beside canaryd that people look at, and that no run needs."""

    url: Link
    """Where canaryd reaches it, with its base path, such as Kiali's web_root."""
    public: Link | None = None
    """Where people reach it, if that is elsewhere: links begin so."""
    ca: Path | None = None
    """A file (PEM) with the authorities that its certificate is trusted by, instead of the system's."""

    @model_validator(mode="after")
    def _trusts(self) -> Self:
        _ca_for(self.url, self.ca)
        return self

    @property
    def shown(self) -> str:
        """The URL that links begin with."""
        return self.public or self.url


class Grafana(Neighbour):
    """Grafana with Istio's dashboards."""

    token: Kept | None = None
    """The token of a service account; read anew for each request. None: as anybody."""
    workload_dashboard: Uid = ""
    """The uid of Istio's workload dashboard; empty: it is looked up by its title."""
    annotate: bool = False
    """Whether weight changes and verdicts are written into Grafana as annotations, with the tag ``canaryd``."""
    annotate_on: Uid = ""
    """The uid of the dashboard that they belong to; empty: to none, so that any may show them by their tags."""


class Tracing(Neighbour):
    """Jaeger or Tempo."""

    api: Literal["auto", "jaeger", "jaeger-v3", "tempo"] = "auto"
    """What it speaks; auto: that is found out by asking."""
    headers: dict[str, Header] = {}  # pydantic copies it
    """Headers that go with each request: text, ``from_env: NAME`` or ``from_file: PATH``."""
    datasource: Uid = ""
    """Of Tempo: the uid of its data source in Grafana, by which traces are shown."""

    @model_validator(mode="after")
    def _plain(self) -> Self:
        _plain_headers(self.headers)
        return self


def _from_link(value: object) -> object:
    """A URL alone is short for a mapping, which the environment may also say in JSON."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError('a URL, or JSON such as {"url": "https://..."}') from None
    return {"url": value}


def _from_url(value: object) -> object:
    """The same of a Prometheus, where a mapping has better places for a password."""
    if isinstance(value, Mapping) and "@" in str(value.get("url")):
        raise ValueError("url: one without a password: username and password_file keep it out of this file")
    return _from_link(value)


def _listed(value: object) -> object:
    """A list in the environment is written with commas."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class Settings(BaseSettings):
    """How canaryd reaches the world."""

    model_config = SettingsConfigDict(
        env_prefix="CANARYD_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        yaml_file=None,
    )

    prometheus: Annotated[Source, NoDecode, BeforeValidator(_from_url)] = Source(
        url="http://prometheus.istio-system:9090"
    )
    """The Prometheus that measures each plan which names no other: a URL, or a mapping."""
    prometheuses: dict[Name, Annotated[NamedSource, BeforeValidator(_from_url)]] = {}  # pydantic copies it
    """Further ones by name, each with the namespaces whose plans may be measured by it."""
    webhooks: dict[Name, Webhook] = {}  # pydantic copies it
    """The receivers that gates of plans may ask, by name."""
    channels: dict[Name, Channel] = {}  # pydantic copies it
    """Who plans may have told of their runs, by name."""
    kubeconfig: Path | None = None
    """A kubeconfig file; by default $KUBECONFIG, else the pod's own account, else ~/.kube/config."""
    context: str | None = None
    """The context in the kubeconfig; by default its current one."""
    state: Path = Path(".canaryd")
    """The folder where runs, commands and journals are kept."""
    timeout: Annotated[float, Field(gt=0, le=60)] = 5.0
    """Seconds that one request to Kubernetes, or one cell of Prometheus, may take."""
    workers: Annotated[int, Field(ge=1, le=64)] = 8
    """Ticks that may run at once; each run has one at a time."""
    namespaces: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = ()
    """The namespaces that the controller looks after; none named: all. In the environment: with commas between."""
    lease: str = "canaryd"
    """The name of the Lease that the controller's processes elect their leader by."""
    lease_namespace: str = ""
    """The Lease's namespace; by default the pod's own ($POD_NAMESPACE)."""
    lease_seconds: Annotated[float, Field(ge=2, le=300)] = 15.0
    """Seconds after which a leader that is not heard of any more is succeeded by another."""
    http: Annotated[int, Field(ge=0, le=65535)] = 8080
    """The port of the controller's /metrics, /healthz and /readyz; 0 for none."""
    max_runs: Annotated[int, Field(ge=0, le=10_000)] = 0
    """How many runs may be in flight at once, in all; a plan that comes when there are so many waits. 0: no limit."""
    max_runs_per_namespace: Annotated[int, Field(ge=0, le=10_000)] = 0
    """The same for the plans of each namespace."""
    run_history: Annotated[int, Field(ge=1, le=1000)] = 10
    """How many ended runs of each plan the controller keeps; older ones are deleted."""
    policies: Path | None = None
    """A folder of policies (CanaryPolicy, *.yaml), which plans are laid over; by default there are none."""
    mode: Literal["active", "observe"] = "active"
    """observe: every run that begins only observes, whatever its plan says; active: as each plan says."""
    kiali: Annotated[Neighbour | None, NoDecode, BeforeValidator(_from_link)] = None
    """Kiali, with its web_root: a URL, or a mapping; reports and messages link there. By default there is none."""
    grafana: Annotated[Grafana | None, NoDecode, BeforeValidator(_from_link)] = None
    """Grafana with Istio's dashboards: a URL, or a mapping. By default there is none."""
    tracing: Annotated[Tracing | None, NoDecode, BeforeValidator(_from_link)] = None
    """Jaeger or Tempo, with its base path: a URL, or a mapping. By default there is none."""
    log_format: Literal["auto", "text", "json"] = "auto"
    """How events are written to standard error; auto is text on a terminal and JSON elsewhere."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is written."""

    @model_validator(mode="after")
    def _one_default_each(self) -> Self:
        bound: dict[str, str] = {}
        for name, source in self.prometheuses.items():
            for namespace in source.default_for:
                if bound.setdefault(namespace, name) != name:
                    raise ValueError(
                        f"prometheuses.{name}.default_for: one default for {namespace}, got {bound[namespace]} too"
                    )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # a stray .env file must not steer a daemon
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls)


def lease_place(settings: Settings) -> tuple[str, str]:
    """Namespace and name of the Lease; a freeze in that namespace, which is canaryd's own, counts for all."""
    return settings.lease_namespace or os.environ.get("POD_NAMESPACE") or "canaryd", settings.lease


def read_settings(file: Path | None = None, **said: Any) -> Settings:
    """
    The settings in force; ``said`` is what the command line says, None where it says nothing.

    Raises Refused with every problem.
    """

    class Read(Settings):
        model_config = SettingsConfigDict(yaml_file=file)

    if file is not None and not file.is_file():
        raise Refused([Problem("--config", str(file), "a file with settings", "see config/canaryd.yaml")])
    try:
        return Read(**{name: value for name, value in said.items() if value is not None})
    except ValidationError as error:
        problems = [_problem(fault) for fault in error.errors(include_url=False)]
        if said.get("prometheus") is not None:  # what was typed has another name than what is in the file
            problems = [replace(one, path="--prometheus") if one.path == "prometheus.url" else one for one in problems]
        raise Refused(problems) from None  # pydantic's error repeats every value
    except SettingsError as error:
        name = str(error).partition('field "')[2].partition('"')[0]
        raise Refused([Problem(name or "the environment", "", "JSON that can be read", SEE)]) from None
    except YAMLError as error:
        raise Refused([Problem(str(file), "", f"YAML that can be read ({error})")]) from error


SEE = "see config/canaryd.yaml"
ABOUT_SOURCES = "see config/canaryd.yaml and docs/prometheus.md"
ABOUT_WEBHOOKS = "see config/canaryd.yaml and docs/gates.md"
ABOUT_CHANNELS = "see config/canaryd.yaml and docs/messages.md"
ABOUT_NEIGHBOURS = "see config/canaryd.yaml and docs/neighbours.md"
PARTS: dict[str, type[Fixed]] = {
    "prometheus": Source,
    "prometheuses": NamedSource,
    "webhooks": Webhook,
    "kiali": Neighbour,
    "grafana": Grafana,
    "tracing": Tracing,
    "channels": Channel,
}
ABOUT = dict.fromkeys(PARTS, ABOUT_NEIGHBOURS) | {
    "prometheus": ABOUT_SOURCES,
    "prometheuses": ABOUT_SOURCES,
    "webhooks": ABOUT_WEBHOOKS,
    "channels": ABOUT_CHANNELS,
}
_WORDS = {
    "model_type": "a mapping with url, or a URL",
    "string_type": "text",
    "string_pattern_mismatch": "a name of small letters, digits and hyphens",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "too_short": "a list with at least one item",
}


def _problem(fault: Any) -> Problem:
    """What pydantic found, in our words, without a secret that somebody wrote where none belongs."""
    place = [str(part) for part in fault["loc"] if part not in ("<text>", "<kept>", "[key]")]
    message = fault["msg"].removeprefix("Value error, ")
    if not place or place[0] not in PARTS:
        if fault["type"] == "value_error" and isinstance(fault["input"], Mapping) and not place:
            path, _, message = message.partition(": ")
            return Problem(path, "", message, ABOUT_SOURCES)
        found = without_password(fault["input"]) if isinstance(fault["input"], str) else fault["input"]
        return Problem(".".join(place), repr(found), message, SEE)
    about = ABOUT[place[0]]
    if fault["type"] == "extra_forbidden":
        kept = {"headers", "key", "token"} | ({"url"} if place[0] == "channels" else set())
        part = Kept if kept & set(place[:-1]) else PARTS[place[0]]
        close = get_close_matches(place[-1], part.model_fields, n=1)
        remedy = f"did you mean {close[0]}?" if close else about
        return Problem(".".join(place), "", "a setting that canaryd knows", remedy)
    if fault["type"] == "missing":
        return Problem(".".join(place), "nothing", "a value", about)
    message = _WORDS.get(fault["type"], message)
    below, found, sentence = message.partition(": ")
    if found and " " not in below:
        place, message = [*place, below], sentence
    return Problem(".".join(place), _shown(place, fault["input"]), message, about)


def _shown(place: list[str], value: object) -> str:
    """``value`` where it cannot be a secret; otherwise nothing."""
    if place[0] == "channels" and place[-1] == "url":
        return ""
    if place[-1] in ("url", "public", "cloudevents") and isinstance(value, str):
        return without_password(value)
    harmless = {"namespaces", "default_for", "insecure_skip_verify", "ca", "cert", "timeout", "every"}
    harmless |= {"api", "annotate", "annotate_on", "datasource", "workload_dashboard"}
    harmless |= set() if place[0] in ("webhooks", "channels") else {"key"}
    return repr(value) if place[-1] in harmless and not isinstance(value, Mapping) else ""


def without_password(url: str) -> str:
    """``url`` without what stands before its host: a password is nobody's business."""
    try:
        parts: SplitResult = urlsplit(url)
    except ValueError:
        return "(a text that is no URL)"
    if "@" in url and not parts.netloc:
        return f"...@{url.rpartition('@')[2]}"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
