"""The command before it does anything: version, help, settings, and the files that people copy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import canaryd as package
from canaryd.cli import app, run
from canaryd.cli.exits import Exit
from canaryd.settings import Settings, read_settings
from tests.cli.stage import Stage, canaryd

ROOT = Path(__file__).parents[2]
PLANS = [*sorted((ROOT / "config/plans").glob("*.yaml")), *sorted((ROOT / "canaryd/lab").glob("*.yaml"))]
HEAVY = {"kubernetes", "prometheus_api_client", "requests", "numpy", "scipy", "apscheduler", "pydantic", "aiohttp"}


def test_the_version_is_told_without_a_client_library() -> None:
    """``canaryd --version`` is asked by scripts, and must answer at once and where half of us is broken."""
    program = (
        "import sys\n"
        "from canaryd.cli import app\n"
        "try:\n    app(['--version'])\n"
        "except SystemExit as end:\n    assert not end.code\n"
        f"print(sorted({HEAVY!r} & {{name.partition('.')[0] for name in sys.modules}}))\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.splitlines() == [f"canaryd {package.__version__}", "[]"]


@pytest.mark.parametrize("verb", ["up", "down", "status", "demo"])
def test_the_lab_without_its_extra_says_how_to_get_it(verb: str) -> None:
    """Canaryd itself needs none of it; who lacks it gets a command that works today, and no traceback."""
    program = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['envoy', 'aiohttp', 'cryptography']))\n"
        f"from canaryd.cli import app\napp(['lab', {verb!r}])\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (said.returncode, said.stdout) == (Exit.USAGE, "")
    assert "pip install '.[lab]'" in said.stderr
    assert said.stderr.count("\n") == 1, said.stderr


def test_crds_prints_what_kubectl_takes() -> None:
    """Five documents, and nothing else on standard output."""
    printed = list(yaml.safe_load_all(canaryd("crds").out))
    assert [one["spec"]["names"]["kind"] for one in printed] == [
        "CanaryPlan",
        "CanaryPolicy",
        "CanaryRun",
        "CanaryRecord",
        "CanaryFreeze",
    ]


def test_help_is_there_for_every_command_and_option() -> None:
    """Each has a sentence; none is found out by trying."""
    assert canaryd("--help").out.count("\n") > 10
    for command in (
        "validate",
        "run",
        "serve",
        "status",
        "explain",
        "links",
        "abort",
        "approve",
        "resume",
        "promote",
        "freeze",
        "stop",
        "thaw",
        "crds",
    ):
        said = canaryd(command, "--help").out
        assert f"canaryd {command} " in said.replace("root", "canaryd")
        assert len(said.split("Options")[0].split()) > 6, said
    import typer

    for name, found in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        for parameter in found.params:
            assert getattr(parameter, "help", "") or name == "lab", f"{name} {parameter.name} has no help"


def test_the_exit_codes_in_the_help_are_those_of_the_command() -> None:
    """A pipeline relies on them."""
    said = {name: " ".join(canaryd(name, "--help").out.split()) for name in ("run", "import")}
    for code in Exit:
        assert f"{code.value} " in said["import" if code is Exit.LEFT_OUT else "run"]
    assert set(run.EXITS.values()) == {Exit.PROMOTED, Exit.ROLLED_BACK, Exit.ABORTED, Exit.INCONCLUSIVE}


@pytest.mark.parametrize("arguments", [["run"], ["rnu"], ["run", "plan.yaml", "--on-exit", "maybe"], ["promote", "x"]])
def test_wrong_usage_is_exit_2(arguments: list[str]) -> None:
    said = canaryd(*arguments)
    assert said.code == Exit.USAGE
    assert said.err


@pytest.mark.parametrize("file", PLANS, ids=lambda file: file.name)
def test_the_plans_that_we_give_are_valid(file: Path) -> None:
    """Those to copy, and those that the lab runs."""
    said = canaryd("validate", file)
    assert said.code == 0, said.err


def test_the_file_of_settings_has_every_one_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a comment for each."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"CANARYD_{name.upper()}", raising=False)
    file = ROOT / "config/canaryd.yaml"
    text = file.read_text()
    written = yaml.safe_load(text)
    assert list(written) == list(Settings.model_fields)
    assert read_settings(file).model_dump() == Settings().model_dump()
    lines = text.splitlines()
    for name in written:
        place = next(index for index, line in enumerate(lines) if line.startswith(f"{name}:"))
        assert lines[place - 1].startswith("# "), f"{name} has no comment"


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is said nearest to the command counts."""
    file = tmp_path / "canaryd.yaml"
    file.write_text("prometheus: http://file\nworkers: 3\ntimeout: 7\n")
    monkeypatch.setenv("CANARYD_PROMETHEUS", "http://environment")
    monkeypatch.setenv("CANARYD_WORKERS", "5")
    settings = read_settings(file, prometheus="http://said", context=None)
    assert (settings.prometheus.url, settings.workers, settings.timeout) == ("http://said", 5, 7.0)


def test_wrong_settings_are_told_together(stage: Stage) -> None:
    """Each with its name, what was found, and where the right ones are shown."""
    file = stage.folder / "canaryd.yaml"
    file.write_text("workers: many\ntimeuot: 5\nlog_level: loud\n")
    said = stage.try_run(stage.plan(), "--config", str(file))
    assert said.code == Exit.REFUSED
    for words in ("3 problems", "workers", "'many'", "timeuot", "log_level", "config/canaryd.yaml"):
        assert words in said.err


def test_a_fault_of_ours_is_one_sentence(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 1 and where it happened; the traceback only on demand."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a fault on purpose")

    monkeypatch.setattr("canaryd.cli.run.world", broken)
    said = stage.try_run(stage.plan())
    assert said.code == Exit.INTERNAL_ERROR
    assert "a fault of canaryd itself: ZeroDivisionError: a fault on purpose (test_main.py:" in said.err
    assert "Traceback" not in said.err
    monkeypatch.setenv("CANARYD_DEBUG", "1")
    assert "Traceback" in stage.try_run(stage.plan()).err
