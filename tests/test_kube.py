"""The Kubernetes API: deadlines, refusals in words, and kubeconfigs that do not work."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from canaryd.errors import Conflict, Rejected, Unavailable
from canaryd.kube import (
    DEPLOYMENTS,
    PODS,
    SERVICES,
    VIRTUAL_SERVICES,
    Expired,
    Forbidden,
    Kind,
    Missing,
    Right,
    Throttled,
    Unserved,
    connect,
    standing_in,
)
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own kubeconfig is none of the tests' business."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer(Cluster()) as found:
        yield found


def at(address: str, tmp_path: Path, timeout: float = 5):
    return connect(kubeconfig(address, tmp_path / "kubeconfig"), timeout=timeout)


def config_map(name: str) -> dict:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": {}}


CONFIG_MAPS = Kind("", "v1", "configmaps")


# -- verbs


def test_paths_are_those_of_the_api() -> None:
    """Core kinds live apart from all others."""
    assert PODS.path("default") == "/api/v1/namespaces/default/pods"
    assert DEPLOYMENTS.path("default", "a") == "/apis/apps/v1/namespaces/default/deployments/a"
    assert VIRTUAL_SERVICES.path() == "/apis/networking.istio.io/v1/virtualservices"
    assert SERVICES.path("a/b", "..") == "/api/v1/namespaces/a%2Fb/services/.."


def test_a_list_is_whole(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API gives pages; a pod on the second one is a pod."""
    monkeypatch.setattr("canaryd.kube.PAGE", 3)
    for number in range(10):
        server.cluster.apply(config_map(f"c{number}"))
    found = at(server.address, tmp_path).list(CONFIG_MAPS, "default")
    assert {f"c{number}" for number in range(10)} <= {one["metadata"]["name"] for one in found}


def test_a_json_patch_is_sent_as_one(server: ApiServer, tmp_path: Path) -> None:
    """The library's own method would send it as a merge patch, and write the list into the object."""
    server.cluster.apply(config_map("c"))
    kube = at(server.address, tmp_path)
    patch = [{"op": "add", "path": "/data", "value": {"a": "1"}}]
    assert kube.patch_json(CONFIG_MAPS, "default", "c", patch, dry_run=True)["data"] == {"a": "1"}
    assert not kube.get(CONFIG_MAPS, "default", "c").get("data")
    after = kube.patch_json(CONFIG_MAPS, "default", "c", patch)
    assert after["data"] == {"a": "1"}
    assert "canaryd" in {one["manager"] for one in after["metadata"]["managedFields"]}


def test_a_failed_test_is_a_conflict_and_a_broken_schema_is_not(server: ApiServer, tmp_path: Path) -> None:
    """Both are 422; only the first is worth another look."""
    server.cluster.apply(config_map("c"))
    kube = at(server.address, tmp_path)
    with pytest.raises(Conflict, match="not as it was read"):
        kube.patch_json(CONFIG_MAPS, "default", "c", [{"op": "test", "path": "/metadata/name", "value": "d"}])
    spec = {"hosts": ["a"], "http": [{"route": [{"destination": {"host": "a"}}]}]}
    server.cluster.apply(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": "a", "namespace": "default"},
            "spec": spec,
        }
    )
    with pytest.raises(Rejected, match="refused it"):
        kube.patch_json(
            VIRTUAL_SERVICES, "default", "a", [{"op": "add", "path": "/spec/http/0/route/0/weight", "value": "ten"}]
        )


def test_what_is_missing_is_told_from_what_is_not_served(server: ApiServer, tmp_path: Path) -> None:
    """One is a person's affair, the other another version's."""
    kube = at(server.address, tmp_path)
    with pytest.raises(Missing):
        kube.get(VIRTUAL_SERVICES, "default", "nobody")
    with pytest.raises(Unserved):
        kube.get(Kind("networking.istio.io", "v9", "virtualservices"), "default", "nobody")


def test_rights_are_asked_for(tmp_path: Path) -> None:
    """By the review that the API server has for it, so that nothing is tried."""
    with ApiServer(Cluster(), denied=(("patch", "virtualservices"),)) as server:
        kube = at(server.address, tmp_path)
        rights = [Right(verb, VIRTUAL_SERVICES) for verb in ("get", "patch")]
        assert kube.forbidden("default", rights) == (rights[1],)
        assert str(rights[1]) == "patch virtualservices.networking.istio.io"
        with pytest.raises(Forbidden, match="kubectl auth can-i"):
            kube.patch_json(VIRTUAL_SERVICES, "default", "reviews", [])


# -- answers


@pytest.mark.parametrize(
    ("code", "error"),
    [(400, Rejected), (401, Rejected), (403, Rejected), (404, Rejected), (409, Conflict), (410, Unavailable),
     (429, Unavailable), (500, Unavailable), (503, Unavailable), (504, Unavailable)],
)  # fmt: skip
def test_refusals_are_told_apart_by_what_to_do_next(
    server: ApiServer, tmp_path: Path, code: int, error: type[Exception]
) -> None:
    """One request each: nothing is retried behind the engine's back."""
    kube = at(server.address, tmp_path)
    server.faults.fail("get", "pods", code, times=2, retry_after=8 if code == 429 else 0)
    started = time.monotonic()
    with pytest.raises(error):
        kube.get(PODS, "default", "a")
    assert server.faults.hits == 1
    assert time.monotonic() - started < 5


def test_a_server_that_says_nothing_is_unavailable_in_time(server: ApiServer, tmp_path: Path) -> None:
    """The deadline is over all."""
    server.faults.hang("get", "pods", 8)
    started = time.monotonic()
    with pytest.raises(Unavailable, match=r"did not answer GET .* within 0\.3 s"):
        at(server.address, tmp_path, 0.3).get(PODS, "default", "a")
    assert time.monotonic() - started < 5


def test_a_server_that_drips_is_unavailable_in_time(tmp_path: Path) -> None:
    """One byte a time keeps a socket's timeout from ever passing; the deadline passes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    for byte in b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + b"X-A: b\r\n" * 50:
                        connection.sendall(bytes([byte]))
                        time.sleep(0.02)
                except OSError:
                    pass

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        started = time.monotonic()
        with pytest.raises(Unavailable, match="within"):
            at(f"http://127.0.0.1:{listener.getsockname()[1]}", tmp_path, 0.5).get(PODS, "default", "a")
        assert time.monotonic() - started < 5


def test_a_reset_is_unavailable(server: ApiServer, tmp_path: Path) -> None:
    """And the sentence names the address."""
    server.faults.reset("get", "pods")
    with pytest.raises(Unavailable, match=server.address):
        at(server.address, tmp_path).get(PODS, "default", "a")


def test_nobody_listens(tmp_path: Path) -> None:
    """The sentence is short: address and reason, no objects in it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(Unavailable) as refusal:
        at(address, tmp_path).get(PODS, "default", "a")
    assert str(refusal.value) == f"the Kubernetes API at {address} is not reachable: [Errno 111] Connection refused"


def test_an_unknown_name_is_unavailable(tmp_path: Path) -> None:
    """A typing error in the address, or no network."""
    with pytest.raises(Unavailable, match=r"nowhere\.invalid"):
        at("http://nowhere.invalid:1", tmp_path).get(PODS, "default", "a")


def test_something_else_answers(tmp_path: Path) -> None:
    """A proxy's page with status 200 is no object."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def page() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>")

        threading.Thread(target=page, daemon=True).start()
        with pytest.raises(Unavailable, match="does not speak JSON"):
            at(f"http://127.0.0.1:{listener.getsockname()[1]}", tmp_path).get(PODS, "default", "a")


# -- watches


def test_a_watch_tells_what_happens(server: ApiServer, tmp_path: Path) -> None:
    """From a version on, until its time is over."""
    kube = at(server.address, tmp_path)
    since = kube.listed(CONFIG_MAPS, "default")[1]
    server.cluster.apply(config_map("c"))
    events = list(kube.watch(CONFIG_MAPS, "default", since=since, seconds=1))
    assert [one["type"] for one in events if one["type"] != "BOOKMARK"] == ["ADDED"]
    assert events[0]["object"]["metadata"]["name"] == "c"


def test_another_thread_ends_a_watch_at_once(server: ApiServer, tmp_path: Path) -> None:
    """Where nothing comes, and without an error."""
    kube = at(server.address, tmp_path)
    watch = kube.watch(CONFIG_MAPS, "default", since=kube.listed(CONFIG_MAPS, "default")[1], seconds=60)
    ended: list[float] = []

    def follow() -> None:
        list(watch)
        ended.append(time.monotonic())

    thread = threading.Thread(target=follow)
    thread.start()
    time.sleep(0.3)
    closed = time.monotonic()
    watch.close()
    thread.join(5)
    assert ended
    assert ended[0] - closed < 0.5
    watch.close()
    assert list(watch) == []


def test_a_watch_that_ended_leaves_the_pool_alone(server: ApiServer, tmp_path: Path) -> None:
    """Closing it late must not cut the connection of a request that came after it."""
    kube = at(server.address, tmp_path)
    for _ in range(3):
        watch = kube.watch(CONFIG_MAPS, "default", since=kube.listed(CONFIG_MAPS, "default")[1], seconds=1)
        with watch:
            list(watch)
        kube.list(CONFIG_MAPS, "default")


def test_a_version_that_is_forgotten_is_told_apart(server: ApiServer, tmp_path: Path) -> None:
    """In the stream, where HTTP said 200, and as the answer."""
    kube = at(server.address, tmp_path)
    with pytest.raises(Expired):
        list(kube.watch(CONFIG_MAPS, "default", since="1", seconds=1))
    server.faults.fail("watch", "configmaps", 410)
    with pytest.raises(Expired):
        kube.watch(CONFIG_MAPS, "default", since="1", seconds=1)


def test_a_busy_server_says_when_to_come_again(tmp_path: Path) -> None:
    """Priority and fairness answer in plain text; the seconds are in the header alone."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    head = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nConnection: close\r\n"
                    connection.sendall(head + b"Content-Length: 4\r\n\r\nbusy")

        threading.Thread(target=refuse, daemon=True).start()
        kube = at(f"http://127.0.0.1:{listener.getsockname()[1]}", tmp_path)
        with pytest.raises(Throttled, match="busy") as refusal:
            kube.get(PODS, "default", "a")
        assert refusal.value.after == 7
        with pytest.raises(Throttled) as refusal:
            kube.watch(PODS, "default", since="1", seconds=1)
        assert refusal.value.after == 7


# -- kubeconfig


def test_a_missing_kubeconfig_is_named(tmp_path: Path) -> None:
    """With what to do."""
    with pytest.raises(Rejected, match=r"no kubeconfig at .*nowhere; name one with --kubeconfig"):
        connect(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["", "[]", "a: [", "kind: Config\nclusters: 7\n", "\x00", "kind: Config\n"])
def test_a_broken_kubeconfig_is_named(tmp_path: Path, text: str) -> None:
    """Whatever is in it: one sentence, not a traceback of the library."""
    path = tmp_path / "broken"
    path.write_text(text)
    with pytest.raises(Rejected, match="broken"):
        connect(path)


def test_an_unknown_context_is_refused_with_those_there_are(tmp_path: Path) -> None:
    """So that the next command can be the right one."""
    path = kubeconfig("http://127.0.0.1:1", tmp_path / "kubeconfig")
    with pytest.raises(Rejected, match=r"no context prod .* but canaryd-lab"):
        connect(path, "prod")


def test_a_context_may_be_chosen(tmp_path: Path) -> None:
    """Otherwise it is the file's current one."""
    path = kubeconfig("http://127.0.0.1:1", tmp_path / "kubeconfig")
    found = yaml.safe_load(path.read_text())
    found["clusters"].append({"name": "other", "cluster": {"server": "http://127.0.0.1:2"}})
    found["contexts"].append({"name": "other", "context": {"cluster": "other", "user": "canaryd"}})
    path.write_text(yaml.safe_dump(found))
    assert connect(path).address == "http://127.0.0.1:1"
    assert connect(path, "other").address == "http://127.0.0.1:2"


def test_the_environment_names_the_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As kubectl does."""
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig("http://127.0.0.1:3", tmp_path / "kubeconfig")))
    assert connect().address == "http://127.0.0.1:3"


def test_a_credentials_plugin_that_hangs_is_unavailable_in_time(tmp_path: Path) -> None:
    """Such a plugin may wait for a browser for ever."""
    path = kubeconfig("http://127.0.0.1:3", tmp_path / "kubeconfig")
    found = yaml.safe_load(path.read_text())
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "sleep",
        "args": ["8"],
        "interactiveMode": "Never",
    }
    found["users"][0]["user"] = {"exec": plugin}
    path.write_text(yaml.safe_dump(found))
    started = time.monotonic()
    with pytest.raises(Unavailable, match="credentials plugin"):
        connect(path, timeout=0.3)
    assert time.monotonic() - started < 5


def test_a_token_is_sent(tmp_path: Path) -> None:
    """The library keeps it under a key that has changed its name; the header is what counts."""
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hear() -> None:
            connection, _ = listener.accept()
            with connection:
                heard.append(connection.recv(4096).decode())
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

        threading.Thread(target=hear, daemon=True).start()
        path = kubeconfig(f"http://127.0.0.1:{listener.getsockname()[1]}", tmp_path / "kubeconfig")
        found = yaml.safe_load(path.read_text())
        found["users"][0]["user"] = {"token": "made-up"}
        path.write_text(yaml.safe_dump(found))
        assert connect(path).get(PODS, "default", "a") == {}
    assert "Bearer made-up" in heard[0]


# -- other people's rights


def test_a_bearer_has_their_own_rights_and_none_of_ours(tmp_path: Path) -> None:
    """A page that acts for who is in front of it must never act as itself."""
    with ApiServer(Cluster(), tokens={"of-ana": "ana", "of-bob": "bob"}) as server:
        ours = at(server.address, tmp_path)
        config = yaml.safe_load((tmp_path / "kubeconfig").read_text())
        config["users"] = [{"name": config["users"][0]["name"], "user": {"token": "of-ana"}}]
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
        ours = connect(tmp_path / "kubeconfig", timeout=5)
        theirs = ours.as_bearer("of-bob")
        assert (ours.account(), theirs.account(), ours.account()) == ("ana", "bob", "ana")
        with pytest.raises(Rejected, match="does not know us"):
            ours.as_bearer("of-nobody").list(PODS)


def test_the_context_says_its_name_and_namespace_as_kubectl_takes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is not there says nothing here: connecting tells what is wrong."""
    contexts = [
        {"name": "prod", "context": {"cluster": "c", "user": "u", "namespace": "shop"}},
        {"name": "lab", "context": {"cluster": "c", "user": "u"}},
    ]
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "prod", "contexts": contexts,
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}], "users": [{"name": "u", "user": {}}],
    }  # fmt: skip
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(config))
    assert standing_in(file) == ("prod", "shop")
    assert standing_in(file, "lab") == ("lab", "default")
    assert standing_in(file, "nowhere") == ("nowhere", "default")
    monkeypatch.setenv("KUBECONFIG", str(file))
    assert standing_in() == ("prod", "shop")
    assert standing_in(tmp_path / "none") == ("", "default")
