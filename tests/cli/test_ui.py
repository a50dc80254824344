"""``canaryd ui`` as a process: what it prints, when it ends, and what it refuses to begin with."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path

import pytest

from canaryd.lab.processes import free_port
from tests.cli.stage import Process, canaryd
from tests.desk.places import in_folder, standing


@pytest.fixture
def process(state: Path, tmp_path: Path) -> Iterator[Process]:
    """The page of a folder, on a port of its own."""
    found = Process(["ui", "--state", str(state), "--port", str(free_port())], tmp_path)
    yield found
    found.kill()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    in_folder(folder).put(standing())
    return folder


def test_the_address_that_it_prints_opens_the_page(process: Process) -> None:
    """Once it is printed nobody is turned away; a signal ends it as told; and no key or token is in its log."""
    process.says("/enter?key=")
    said = process.output
    found = re.search(r"(http://127\.0\.0\.1:\d+)/enter\?key=([\w-]{32})\n", said)
    assert found
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    with browser.open(found[0].strip(), timeout=20) as answer:
        assert b"baking at 5 %" in answer.read()
    with pytest.raises(urllib.error.HTTPError, match="401"):
        browser.open(f"{found[1]}/enter?key=wrong", timeout=20)
    process.send(signal.SIGTERM)
    assert process.ended() in (0, -signal.SIGTERM)
    assert process.output == said


def test_a_port_that_is_taken_is_said_before_any_address(state: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = canaryd("ui", "--state", state, "--port", str(taken.getsockname()[1]))
    assert (said.code, said.out) == (13, "")
    assert re.search(r"port \d+ of 127\.0\.0\.1 cannot be listened on \(Address already in use\)", said.err)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "the page listens on this machine only"),
        (["--auth", "bearer"], "--state is for one person"),
        (["--trusted-proxy", "10.0.0.1"], "--trusted-proxy is for --auth proxy"),
        (["-n", "shop"], "a folder, or a cluster"),
    ],
)
def test_what_would_lie_open_or_means_nothing_is_refused(state: Path, options: list[str], words: str) -> None:
    said = canaryd("ui", "--state", state, *options)
    assert (said.code, words in said.err) == (13, True), said.err


def test_a_proxy_must_be_named(tmp_path: Path) -> None:
    config = tmp_path / "kubeconfig"
    config.write_text(
        "{apiVersion: v1, kind: Config, current-context: a, users: [{name: u, user: {token: t}}],"
        " clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}],"
        " contexts: [{name: a, context: {cluster: c, user: u}}]}"
    )
    for options, words in {
        (): "name the proxies' addresses with --trusted-proxy",
        ("--trusted-proxy", "proxy.example"): "expected an address or a network",
        ("--trusted-proxy", "10.0.3.7", "--host", "0.0.0.0"): "under which address do people find it?",
        ("--trusted-proxy", "10.0.3.7", "--url", "http://canaryd.example"): "tokens would travel in clear",
    }.items():
        said = canaryd("ui", "--auth", "proxy", "--kubeconfig", config, *options)
        assert (said.code, words in said.err) == (13, True), said.err


def test_without_its_packages_it_says_what_to_install(state: Path) -> None:
    """They are an extra, which the controller does not need."""
    code = "import sys; sys.modules['fastapi'] = None; from canaryd.cli import app; app()"
    command = [sys.executable, "-c", code, "ui", "--state", str(state)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "pip install 'istio-canaryd[ui]'" in done.stderr) == (13, True), done.stderr
