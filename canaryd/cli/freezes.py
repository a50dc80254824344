"""``canaryd freeze``, ``stop``, ``freezes`` and ``thaw``: in a cluster, or in a state folder."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol
from uuid import uuid4

import typer

from canaryd.cli.tables import say_data
from canaryd.desk.folder import user
from canaryd.errors import Rejected
from canaryd.kube import CANARY_FREEZES, LEASES, Forbidden, Kube, Missing, Unserved, connect, standing_in
from canaryd.model.calendar import left, shown
from canaryd.model.duration import parse_duration
from canaryd.model.guards import Freeze
from canaryd.model.problem import Problem, Refused
from canaryd.settings import lease_place, read_settings
from canaryd.store.freezes import NAME, FolderFreezes, freeze_object, freeze_of
from canaryd.store.objects import time_text


class Place(Protocol):
    """Where freezes are written down. A freeze of all namespaces has an empty one."""

    @property
    def where(self) -> str:
        """The place in words."""

    def freezes(self, namespace: str) -> tuple[Freeze, ...]:
        """Those that are to be seen; of ``namespace`` alone, and of all, where it is given."""

    def add(self, freeze: Freeze) -> None: ...

    def lift(self, freeze: Freeze) -> None: ...

    def me(self) -> str:
        """Who asks."""


class InFolder:
    """Files in a state folder, read by ``canaryd run`` and ``canaryd serve``."""

    def __init__(self, folder: Path) -> None:
        self.state = folder
        self._freezes = FolderFreezes(folder)

    @property
    def where(self) -> str:
        return f"the folder {self.state}"

    def freezes(self, namespace: str) -> tuple[Freeze, ...]:
        return tuple(one for one in self._freezes.freezes() if not namespace or one.namespace in ("", namespace))

    def add(self, freeze: Freeze) -> None:
        self._freezes.add(freeze)

    def lift(self, freeze: Freeze) -> None:
        self._freezes.lift(freeze.name)

    def me(self) -> str:
        return user()


class InCluster:
    """CanaryFreezes; those of all namespaces lie in ``home``, which is canaryd's own."""

    def __init__(self, kube: Kube, home: str, lease: str, context: str = "") -> None:
        self._kube = kube
        self._home = home
        self._lease = lease
        self._context = context

    @property
    def where(self) -> str:
        return f"context {self._context}" if self._context else f"the cluster at {self._kube.address}"

    def freezes(self, namespace: str) -> tuple[Freeze, ...]:
        with _known():
            if not namespace:
                try:
                    return tuple(freeze_of(found, self._home) for found in self._kube.list(CANARY_FREEZES))
                except Forbidden as error:
                    raise Rejected(f"{error}; -n NAMESPACE lists those of one namespace, and those of all") from error
            places = dict.fromkeys((namespace, self._home))
            return tuple(
                freeze_of(found, self._home) for place in places for found in self._kube.list(CANARY_FREEZES, place)
            )

    def add(self, freeze: Freeze) -> None:
        if not freeze.namespace:
            self._led_from_home()
        namespace = freeze.namespace or self._home
        with _known():
            try:
                self._kube.create(CANARY_FREEZES, namespace, freeze_object(freeze, namespace))
            except Missing as error:
                raise Rejected(f"there is no namespace {namespace} in {self.where} (kubectl get namespaces)") from error

    def lift(self, freeze: Freeze) -> None:
        with _known():
            self._kube.delete(CANARY_FREEZES, freeze.namespace or self._home, freeze.name)

    def me(self) -> str:
        return self._kube.account()

    def _led_from_home(self) -> None:
        """A freeze of all that lies where no canaryd looks for it would freeze nothing, and nobody would know."""
        try:
            self._kube.get(LEASES, self._home, self._lease)
        except Missing as error:
            raise Rejected(
                f"no canaryd is led from namespace {self._home} (there is no Lease {self._home}/{self._lease}): "
                "say where it is with CANARYD_LEASE_NAMESPACE, or lease_namespace in --config"
            ) from error
        except Forbidden:
            return  # who may freeze need not see Leases


class _known:  # noqa: N801  # it reads like a function
    """An API server without our kinds, in words that help."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Unserved):
            raise Rejected(
                "the API server does not know CanaryFreezes: canaryd crds | kubectl apply --server-side -f -; "
                "for canaryd run and serve, which need none, give --state"
            ) from error


def place(config: Path | None, kubeconfig: Path | None, context: str | None, state: Path | None) -> Place:
    """The folder ``state``, where somebody named one; else the cluster. Raises what reading the settings raises."""
    settings = read_settings(config, kubeconfig=kubeconfig, context=context, state=state)
    if state is not None:
        return InFolder(settings.state)
    home, lease = lease_place(settings)
    try:
        kube = connect(settings.kubeconfig, settings.context, timeout=settings.timeout)
        return InCluster(kube, home, lease, standing_in(settings.kubeconfig, settings.context)[0])
    except Rejected as error:
        raise Rejected(f"{error}; for canaryd run and serve on a state folder: --state DIR") from error


def freeze(
    where: Place,
    namespace: str,
    everywhere: bool,
    reason: str,
    until: str,
    lasting: str,
    name: str,
    *,
    stop: bool,
    ends: bool = True,
) -> None:
    """Write a freeze down and say so. Raises Refused with every fault of what was typed; ``ends``: it needs an end."""
    now = time.time()
    problems = [*_scope(namespace, everywhere), *_named(name)]
    if not reason.strip():
        problems.append(Problem("--reason", "nothing", "why, in a few words: whoever waits is told"))
    end = None
    try:
        end = _end(until, lasting, now, needed=ends)
    except Refused as refused:
        problems += refused.problems
    if problems:
        raise Refused(problems)
    name = name or f"{'stop' if stop else 'freeze'}-{uuid4().hex[:6]}"
    found = Freeze(name, namespace, reason.strip(), where.me(), end, now, stop)
    where.add(found)
    scope = f"namespace {namespace}" if namespace else "all namespaces"
    what = "nothing starts, and what is in flight is rolled back" if stop else "nothing starts and nothing rises"
    typer.echo(f"{scope}: {what}, {_ending(found, now)}")
    scope = f" -n {namespace}" if namespace else " -A"
    place = f" --state {where.state}" if isinstance(where, InFolder) else scope
    typer.echo(f"to lift it: canaryd thaw {name}{place}")


def show(where: Place, namespace: str, *, output: Literal["table", "json", "yaml"]) -> None:
    """One line a freeze, those in force first."""
    now = time.time()
    found = sorted(where.freezes(namespace), key=lambda one: (one.over(now), not one.stop, one.since))
    if output != "table":
        say_data([_as_data(one, now) for one in found], output)
        return
    if not found:
        scope = f"namespace {namespace} of " if namespace else ""
        typer.echo(f"nothing is frozen in {scope}{where.where}", err=True)
    for one in found:
        word = "over" if one.over(now) else "stopped" if one.stop else "frozen"
        by = f" by {one.owner}" if one.owner else ""
        scope = f"namespace {one.namespace}" if one.namespace else "all namespaces"
        end = "" if one.over(now) else f" {_ending(one, now)}"
        typer.echo(f"{one.name}  {scope}: {word}{by}{end}: {one.reason}")


def lift(where: Place, name: str, namespace: str, everywhere: bool) -> None:
    """End the freeze of that name. Raises Rejected where there is none, or several."""
    not_both(namespace, everywhere)
    found = [one for one in where.freezes(namespace) if one.name == name]
    if namespace or everywhere:
        found = [one for one in found if one.namespace == namespace]
    if not found:
        there = ", ".join(one.name for one in where.freezes(namespace)) or "none"
        scope = f"of namespace {namespace} " if namespace else "of all namespaces " if everywhere else ""
        raise Rejected(
            f"there is no freeze {name} {scope}in {where.where} (there: {there}): canaryd freezes lists them"
        )
    if len(found) > 1:
        places = ", ".join(one.namespace or "all namespaces" for one in found)
        raise Rejected(f"there are several freezes {name} ({places}): say -n NAMESPACE or -A")
    where.lift(found[0])
    typer.echo(f"{name} is lifted: what waited for it goes on by itself")


def not_both(namespace: str, everywhere: bool) -> None:
    """Raises Refused where both are typed."""
    if namespace and everywhere:
        raise Refused(_scope(namespace, everywhere))


def _scope(namespace: str, everywhere: bool) -> list[Problem]:
    if bool(namespace) == everywhere:
        found = f"-n {namespace} -A" if everywhere else "neither"
        return [Problem("-n or -A", found, "one of the two: -n NAMESPACE, or -A for every namespace")]
    if namespace and not NAME.fullmatch(namespace):
        return [Problem("--namespace", namespace, "the name of a namespace")]
    return []


def _named(name: str) -> list[Problem]:
    if name and not NAME.fullmatch(name):
        return [Problem("--name", name, "a name of small letters, digits and hyphens, of at most 63 characters")]
    return []


def _end(until: str, lasting: str, now: float, *, needed: bool) -> float | None:
    """When it ends, as a Unix time. A time without an offset is the clock's on this machine."""
    if until and lasting:
        raise Refused([Problem("--until and --for", f"{until} and {lasting}", "one of the two")])
    if not until and not lasting:
        if needed:
            remedy = "canaryd stop --hold has none"
            raise Refused([Problem("--until or --for", "neither", "when it ends by itself, such as --for 4h", remedy)])
        return None
    option, said = ("--until", until) if until else ("--for", lasting)
    try:
        end = datetime.fromisoformat(until).timestamp() if until else now + parse_duration(lasting).total_seconds()
        time_text(end)
    except (ValueError, OverflowError, OSError) as error:
        expected = "a time such as 2026-12-24T18:00+01:00" if until else str(error)
        raise Refused([Problem(option, said, expected)]) from error
    if end <= now:
        raise Refused([Problem(option, said, "an end that is not over yet")])
    return end


def _ending(freeze: Freeze, now: float) -> str:
    if freeze.until is None:
        return "until it is lifted"
    return f"until {shown(freeze.until, 'UTC', now)} ({left(freeze.until - now)} left)"


def _as_data(freeze: Freeze, now: float) -> dict[str, object]:
    return {
        "name": freeze.name,
        "namespace": freeze.namespace or None,
        "state": "over" if freeze.over(now) else "stopped" if freeze.stop else "frozen",
        "owner": freeze.owner,
        "reason": freeze.reason,
        "since": time_text(freeze.since, fraction=False),
        "until": time_text(freeze.until, fraction=False) if freeze.until is not None else None,
    }
