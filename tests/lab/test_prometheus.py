"""Where Prometheus comes from when the machine has none."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from canaryd.errors import Rejected
from canaryd.lab import prometheus
from canaryd.lab.lab import Lab

from .conftest import answered, wait_for

CONTENT = b"#!/bin/sh\necho a prometheus\n"


def package(place: Path) -> Path:
    """A small Debian package with one executable."""
    place.write_bytes(
        b"!<arch>\n"
        + _member("debian-binary", b"2.0\n")
        + _member("control.tar.xz", _tar("./control", b"Package: prometheus\nVersion: 1\nArchitecture: all\n"))
        + _member("_odd", b"an odd length is padded")
        + _member("data.tar.xz", _tar("./usr/bin/prometheus", CONTENT))
    )
    return place


def _tar(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:xz") as archive:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), 0o755
        archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _member(name: str, content: bytes) -> bytes:
    head = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
    return head + content + b"\n" * (len(content) % 2)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an empty PATH and an empty cache; programs may be put into its `bin`."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def program(machine: Path, name: str, script: str) -> Path:
    place = machine / "bin" / name
    place.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
    place.chmod(0o755)
    return place


def test_a_prometheus_on_the_path_is_used(machine: Path) -> None:
    """Nobody wants a second copy of what the machine has."""
    installed = program(machine, "prometheus", "")
    assert prometheus.find_or_fetch() == installed


def test_without_apt_the_person_is_told_what_to_do(machine: Path) -> None:
    with pytest.raises(Rejected, match=r"no apt-get to fetch it with: install it .* or copy an executable to .*/cache"):
        prometheus.find_or_fetch()


def test_when_apt_fails_its_own_words_are_told(machine: Path) -> None:
    program(machine, "apt-get", "echo 'E: no network today' >&2; exit 100")
    with pytest.raises(Rejected, match=r"could not download it: install it .*apt-get said: E: no network today"):
        prometheus.find_or_fetch()


@pytest.mark.parametrize("dpkg", [True, False])
def test_the_package_is_unpacked_with_and_without_dpkg(machine: Path, dpkg: bool) -> None:
    """The same bytes either way."""
    deb = package(machine / "it.deb")
    program(machine, "apt-get", f"cp {deb} prometheus_1_all.deb")
    if dpkg:
        program(machine, "dpkg", 'exec /usr/bin/dpkg "$@"')
    found = prometheus.find_or_fetch()
    assert found == machine / "cache" / "canaryd" / "prometheus" / "prometheus"
    assert found.read_bytes() == CONTENT
    assert subprocess.run([found], capture_output=True, check=True).stdout == b"a prometheus\n"
    assert sorted(each.name for each in found.parent.iterdir()) == [".lock", "prometheus"]


def test_a_system_without_package_lists_gets_lists_of_its_own(machine: Path) -> None:
    """A fresh container has none, and only root may update the system's."""
    deb = package(machine / "it.deb")
    script = f"""
case "$*" in
  *Dir::State=*update) touch {machine}/updated ;;
  *Dir::State=*download*) test -e {machine}/updated && cp {deb} prometheus_1_all.deb ;;
  *) echo 'E: Unable to locate package prometheus' >&2; exit 100 ;;
esac"""
    program(machine, "apt-get", script)
    assert prometheus.find_or_fetch().read_bytes() == CONTENT


def test_two_at_a_time_fetch_once(machine: Path) -> None:
    """Two test runs on a fresh machine must neither clash nor use a half-written file."""
    deb = package(machine / "it.deb")
    program(machine, "apt-get", f"echo x >> {machine}/calls; sleep 0.3; cp {deb} prometheus_1_all.deb")
    code = "from canaryd.lab.prometheus import find_or_fetch; print(find_or_fetch().stat().st_size)"
    runs = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(2)]
    sizes = [int(run.communicate()[0]) for run in runs]
    assert sizes == [len(CONTENT)] * 2
    assert (machine / "calls").read_text() == "x\n"


@pytest.mark.lab
@pytest.mark.slow
def test_debians_package_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real thing, from the real archive; skipped where that cannot be reached."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(prometheus.shutil, "which", lambda name: None if name == "prometheus" else f"/usr/bin/{name}")
    try:
        found = prometheus.find_or_fetch()
    except Rejected as refusal:
        pytest.skip(f"Debian's archive cannot be reached: {refusal}")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
    assert "prometheus, version 2." in said.stdout + said.stderr


@pytest.mark.lab
@pytest.mark.xdist_group("lab")
def test_one_that_forgets_measures_on_and_knows_nothing_of_before(lab: Lab) -> None:
    """At the same address, for whoever asks it."""
    url, samples = lab.prometheus_url, "count_over_time(up{job='envoy'}[1h])"
    wait_for(lambda: any(value >= 5 for _, value in lab.prometheus.query(samples)), "five scrapes", 15)
    lab.prometheus.forget()
    assert lab.prometheus_url == url
    assert all(value < 3 for _, value in lab.prometheus.query(samples))
    lab.wait_until_measured()


@pytest.mark.lab
@pytest.mark.xdist_group("lab")
def test_an_outage_keeps_what_was_measured(lab: Lab) -> None:
    """After Prometheus comes back, the counts from before must still be there: canaryd reads exact deltas."""
    url = lab.prometheus_url
    answered(lab, 30)
    total = 'sum(istio_requests_total{reporter="source"})'
    wait_for(lambda: bool(lab.prometheus.query(total)), "counts")
    before = lab.prometheus.query(total)[0][1]
    lab.prometheus.stop()
    assert not lab.prometheus.running
    answered(lab, 30)
    lab.prometheus.start()
    assert lab.prometheus_url == url
    assert lab.prometheus.query(total)[0][1] >= before
    wait_for(lambda: lab.prometheus.query(total)[0][1] > before + 30, "counting goes on", 12)
