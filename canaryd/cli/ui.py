"""``canaryd ui``: the page, with the door that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import structlog
import typer

from canaryd.cli.places import Place
from canaryd.errors import Rejected

if TYPE_CHECKING:
    from canaryd.web.people import Door

Auth = Literal["kubeconfig", "bearer", "proxy"]

log = structlog.get_logger()


def serve(place: Place, host: str, port: int, url: str, auth: Auth, trusted: Sequence[str]) -> None:
    """Serve the page until somebody ends it. Raises Rejected for what would lie open."""
    try:
        from canaryd.web import serving
        from canaryd.web.around import Around
    except ImportError as error:
        raise Rejected(
            f"the page needs packages that are not installed ({error.name}): pip install 'istio-canaryd[ui]'"
        ) from error
    from canaryd.logs import set_up

    settings = place.settings()
    key = serving.new_key()
    door = _door(place, auth, key, trusted)
    listens = serving.Place(host, port, url)
    set_up(settings.log_format, "warning" if auth == "kubeconfig" else settings.log_level)

    def listening() -> None:
        if auth == "kubeconfig":
            named = f"[{host}]" if ":" in host else host
            typer.echo(f"canaryd ui: {door.where}, with your own rights; ctrl-C ends it")
            typer.echo(f"{url.rstrip('/') or f'http://{named}:{port}'}/enter?key={key}")
        else:
            log.info("ui.started", host=host, port=port, url=url, auth=auth)

    serving.serve(door, listens, auth, listening, neighbours=Around(settings))


def _door(place: Place, auth: Auth, key: str, trusted: Sequence[str]) -> Door:
    from canaryd.web.people import OwnDoor, ProxyDoor, TokenDoor, networks

    if trusted and auth != "proxy":
        raise Rejected("--trusted-proxy is for --auth proxy, where a proxy says who comes")
    if auth == "kubeconfig":
        return OwnDoor(place.desk(), key)
    if place.state is not None:
        raise Rejected(f"--state is for one person (--auth kubeconfig); --auth {auth} is for a cluster")
    kube, namespace = place.kube(), place.namespace
    if auth == "bearer":
        return TokenDoor(kube, namespace)
    if not trusted:
        raise Rejected(
            "--auth proxy believes what a proxy says about people: name the proxies' addresses with --trusted-proxy, "
            "such as --trusted-proxy 10.0.3.7, and see docs/page.md for what that means"
        )
    return ProxyDoor(kube, networks(trusted), namespace=namespace)
