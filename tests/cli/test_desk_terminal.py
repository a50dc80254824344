"""
The desk at a terminal: colours, the live table, the tab key, and ``kubectl canaryd``, by the real kubectl.

Each in a process of its own, as a person has it.
"""

from __future__ import annotations

import fcntl
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyte
import pytest
from rich.console import Console

from canaryd.cli import watching
from canaryd.cli.tables import say_table
from canaryd.desk import FolderDesk, SeenRun
from canaryd.desk.seeing import seen_run
from canaryd.lab.kubernetes import ApiServer, Cluster, kubeconfig
from canaryd.model.run import Run
from canaryd.report.outlook import elapsed
from canaryd.store.objects import status_of
from tests.desk.places import Place, in_cluster, in_folder
from tests.report import stories

ESCAPE = "\x1b["


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A folder with a run that was rolled back."""
    run, journal = stories.rolled_back()
    in_folder(tmp_path / "state").put(run, journal)
    return tmp_path / "state"


def on_a_terminal(*arguments: str, columns: int = 100, **environment: str) -> str:
    """What ``canaryd arguments`` writes to a terminal, to its end."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS")}
    process = subprocess.Popen(
        [sys.executable, "-m", "canaryd", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.STDOUT,
        env={**kept, "TERM": "xterm-256color", **environment},
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:
            break  # that is how a terminal ends
        if not chunk:
            break
        written += chunk
    os.close(ours)
    assert process.wait(60) in (0, 10)
    return written.decode()


def test_colour_is_for_a_terminal_that_wants_it(state: Path) -> None:
    """And repeats a word that is there without it."""
    shown = on_a_terminal("status", "--state", str(state))
    assert ESCAPE in shown
    plain = on_a_terminal("status", "--state", str(state), NO_COLOR="1")
    assert ESCAPE not in plain
    assert "rolled back" in plain
    piped = subprocess.run(
        [sys.executable, "-m", "canaryd", "status", "--state", str(state)], capture_output=True, text=True, check=True
    )
    assert ESCAPE not in piped.stdout


def test_on_a_terminal_no_line_is_longer_than_it_and_wide_is_whole(state: Path) -> None:
    [run] = FolderDesk(state).runs()
    shown = on_a_terminal("status", "--state", str(state), NO_COLOR="1")
    assert max(map(len, shown.splitlines())) <= 100
    assert "…" in shown
    assert run.why in on_a_terminal("status", "-o", "wide", "--state", str(state), NO_COLOR="1")


def test_watch_on_a_terminal_is_a_table_with_weight_evidence_and_both_sides(state: Path) -> None:
    run, _ = stories.rolled_back()
    terminal = pyte.Screen(100, 50)
    pyte.Stream(terminal).feed(on_a_terminal("watch", "--state", str(state), "reviews"))
    lines = [line.rstrip() for line in terminal.display if line.strip()]
    for label in ("steps", "harm", "proof", "share", "stable", "canary", "weight"):
        assert any(line.startswith(f"{label} ") for line in lines), lines
    assert "".join(lines[-2:]).startswith(f"rolled back: {run.reason}"[:100])


def screen(run: Run, after: float = 60.0, **seen: Any) -> str:
    """What watch shows of it so many seconds after its beginning, as text."""
    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115  # nobody reads it
    place = in_memory(run)
    console.print(watching._screen(replace(place, **seen), run, run.created + after, ""))
    return console.export_text()


def in_memory(run: Run) -> SeenRun:
    return seen_run(run, status_of(run))


def test_the_trail_shows_each_weight_in_its_time() -> None:
    """At 5 % lower than at 25 %, and nothing before the first."""
    run, _ = stories.gated()
    end = run.cells[-1].end - run.created
    [line] = [one for one in screen(run, end).splitlines() if one.startswith("weight")]
    assert list(dict.fromkeys(line.split()[1])) == ["▂", "▃", "▅"]
    assert line.rstrip().endswith(f"50 % after {elapsed(end)}")


def test_a_run_that_nobody_carries_out_says_so_below() -> None:
    run, _ = stories.baking()
    assert "no canaryd carries it out now: traffic stays as it is" in screen(run, attended=False)
    assert "ctrl-C leaves, and the run goes on" in screen(run, attended=None)


def test_nothing_that_people_write_moves_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    """Names and reasons come from others."""
    say_table(["NAME", "WHY"], [["a\x1b[2Jb", "c\nd\x07"]])
    assert capsys.readouterr().out == "NAME     WHY\na [2Jb   c d\n"


# -- kubectl canaryd, and the tab key


@dataclass(frozen=True)
class Shell:
    """A shell with kubectl and the plugin on its PATH, as an installation has them."""

    place: Place
    environment: dict[str, str]

    def __call__(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl on PATH")
    programs = tmp_path / "bin"
    programs.mkdir()
    scripts = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]
    for name, where in scripts.items():
        module, function = where.split(":")
        program = programs / name
        program.write_text(f"#!{sys.executable}\nfrom {module} import {function}\n{function}()\n")
        program.chmod(0o755)
    with ApiServer(Cluster()) as server:
        config = kubeconfig(server.address, tmp_path / "kubeconfig")
        environment = os.environ | {
            "PATH": f"{programs}:{Path(kubectl).parent}:/usr/bin:/bin",
            "KUBECONFIG": str(config),
            "HOME": str(tmp_path),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        run, journal = stories.baking()
        place = in_cluster(config)
        place.put_plan(place.put(run, journal))
        yield Shell(place, environment)


def test_kubectl_finds_it_as_a_plugin(shell: Shell) -> None:
    """With the same options and the same kubeconfig."""
    said = shell("kubectl", "canaryd", "status", "-n", "default")
    assert said.returncode == 0, said.stderr
    assert "reviews-v3-7f3a" in said.stdout
    assert "Usage: kubectl canaryd status" in shell("kubectl", "canaryd", "status", "--help").stdout
    assert shell("kubectl", "canaryd", "explain", "nobody").returncode == 13


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        (("st",), ["stop", "status"]),
        (("explain", ""), ["reviews", "reviews-v3-7f3a"]),
        (("explain", "reviews-"), ["reviews-v3-7f3a"]),
        (("abort", "-n", "default", "rev"), ["reviews", "reviews-v3-7f3a"]),
        (("history", ""), ["reviews"]),
        (("history", "-n", "nobody", ""), []),
        (("status", "-o", ""), ["table", "wide", "json", "yaml"]),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, tuple) else "",
)
def test_kubectl_completes_its_words(shell: Shell, typed: tuple[str, ...], completed: list[str]) -> None:
    """Verbs, names and values, and no file names: that is what the last line means."""
    said = shell("kubectl", "__complete", "canaryd", *typed)
    *found, directive = said.stdout.splitlines()
    assert sorted(found) == sorted(completed), said.stderr
    assert directive == ":4"


def test_the_shell_completes_canaryd_itself(shell: Shell) -> None:
    """By the script that it writes for bash; a cluster that does not answer costs the names, not the line."""
    script = shell("canaryd", "--show-completion", "bash").stdout or shell("canaryd", "--show-completion").stdout
    assert "_CANARYD_COMPLETE=complete_bash" in script
    typing = {"_CANARYD_COMPLETE": "complete_bash", "COMP_WORDS": "canaryd explain rev", "COMP_CWORD": "2"}
    asked = replace(shell, environment=shell.environment | typing)
    assert asked("canaryd").stdout.split() == ["reviews", "reviews-v3-7f3a"]
    away = replace(asked, environment=asked.environment | {"KUBECONFIG": "/nowhere"})
    said = away("canaryd")
    assert (said.stdout.strip(), said.stderr) == ("", "")
