"""
Where the runs are that a command is about: a state folder, or a cluster.

What is typed decides, then the settings; where neither says anything, it is the folder ``.canaryd`` if there are runs
in it, else the cluster of the kubeconfig.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from canaryd.cli.options import Config, Context, Everywhere, InFolder, Kubeconfig, Namespace

if TYPE_CHECKING:
    from canaryd.desk import Desk
    from canaryd.kube import Kube
    from canaryd.settings import Settings


@dataclass(frozen=True)
class Place:
    """What was typed about where runs are."""

    state: Path | None = None
    namespace: str = ""
    everywhere: bool = False
    kubeconfig: Path | None = None
    context: str | None = None
    config: Path | None = None

    def settings(self) -> Settings:
        """The settings in force. Raises what reading them raises."""
        from canaryd.settings import read_settings

        return read_settings(self.config, kubeconfig=self.kubeconfig, context=self.context, state=self.state)

    def desk(self, *, timeout: float | None = None) -> Desk:
        """The desk there. Raises Refused for a contradiction, and what connecting to a cluster raises."""
        from canaryd.desk import FolderDesk
        from canaryd.errors import Rejected

        self._must_not_contradict_itself()
        settings = self.settings()
        typed = self.namespace or self.everywhere or self.kubeconfig or self.context
        if self.state is not None or ("state" in settings.model_fields_set and not typed):
            return FolderDesk(settings.state)
        if not typed and _holds_runs(settings.state):
            return FolderDesk(settings.state)
        try:
            return self._cluster(settings, timeout or settings.timeout)
        except Rejected as error:
            if typed:
                raise
            raise Rejected(
                f"no runs in {settings.state}, and no cluster: {error}; --state DIR looks into another folder"
            ) from error

    def kube(self) -> Kube:
        """The cluster, whatever folder there may be. Raises what connecting raises."""
        from canaryd.kube import connect

        settings = self.settings()
        return connect(settings.kubeconfig, settings.context, timeout=settings.timeout)

    def _cluster(self, settings: Settings, timeout: float) -> Desk:
        from canaryd.desk import ClusterDesk
        from canaryd.kube import connect, standing_in

        kube = connect(settings.kubeconfig, settings.context, timeout=timeout)
        context, usual = standing_in(settings.kubeconfig, settings.context)
        return ClusterDesk(kube, ("" if self.everywhere else self.namespace or usual,), context=context)

    def _must_not_contradict_itself(self) -> None:
        from canaryd.model.problem import Problem, Refused

        found = f"-n {self.namespace}" if self.namespace else "-A" if self.everywhere else ""
        if self.namespace and self.everywhere:
            raise Refused([Problem("-n and -A", f"-n {self.namespace} -A", "one of the two")])
        if self.state is not None and found:
            raise Refused(
                [Problem("--state and " + found[:2], f"--state {self.state} {found}", "a folder, or a cluster")]
            )


def elsewhere(desk: Desk) -> str:
    """How to look somewhere else than at ``desk``, for who has not found what they sought."""
    from canaryd.desk import FolderDesk

    if isinstance(desk, FolderDesk):
        return "--state DIR looks into another folder, -n NAMESPACE or -A into the cluster"
    return "-n NAMESPACE looks into another namespace, -A into all, --context NAME into another cluster"


def placed(command: Callable[..., None]) -> Callable[..., None]:
    """``command``, with the options that make up its last parameter, ``place``, in the place of that."""
    own, options = inspect.signature(command, eval_str=True), inspect.signature(_options, eval_str=True)
    names = [field.name for field in fields(Place)]

    @functools.wraps(command)
    def carried_out(**said: Any) -> None:
        where = {name: said.pop(name) for name in names}
        command(**said, place=Place(**where))

    parameters = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for one in (*own.parameters.values(), *options.parameters.values())
        if one.name != "place"
    ]
    carried_out.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    carried_out.__annotations__ = {one.name: one.annotation for one in parameters}
    return carried_out


def _options(
    state: InFolder = None,
    namespace: Namespace = "",
    everywhere: Everywhere = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    config: Config = None,
) -> None:
    """What :class:`Place` is made of."""


def _holds_runs(folder: Path) -> bool:
    """Whether a run is, or was, kept there. Raises Unavailable where that cannot be seen."""
    from canaryd.errors import Unavailable
    from canaryd.store.folder import found_in

    try:
        return any((one / "run.json").exists() for one in found_in(folder))
    except OSError as error:
        raise Unavailable(f"the folder {folder} cannot be read ({error.strerror or error})") from error
