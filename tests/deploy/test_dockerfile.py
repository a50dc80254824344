"""The Dockerfile, read: what can be known of it without a daemon that builds it."""

from __future__ import annotations

import re

from canaryd import __version__
from tests.deploy.manifests import DEPLOY, ROOT, built, of

TEXT = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
STAGES = [
    [line for line in stage.splitlines() if line and not line.startswith("#")] for stage in TEXT.split("\nFROM ")[1:]
]
FINAL = STAGES[-1]


def test_the_last_stage_installs_nothing() -> None:
    """What builds stays behind in the first stage."""
    assert len(STAGES) == 2
    assert not [line for line in FINAL if re.search(r"pip install|apt-get|curl|COPY (?!--from=build)", line)]
    assert [line for line in FINAL if "pip uninstall" in line]


def test_the_image_runs_as_the_user_of_the_manifests() -> None:
    """A number, because the kubelet cannot tell that a name is not root."""
    [user] = [line.split()[1] for line in FINAL if line.startswith("USER ")]
    context = of("Deployment", built(DEPLOY / "overlays/cluster-wide"))["spec"]["template"]["spec"]["securityContext"]
    assert user == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert not [line for line in FINAL[FINAL.index(f"USER {user}") :] if line.startswith(("RUN ", "COPY "))]


def test_the_labels_name_this_version() -> None:
    """Unless a build says another."""
    assert f"ARG VERSION={__version__}" in FINAL
    for label in ("title", "version", "revision", "licenses"):
        assert f"org.opencontainers.image.{label}=" in TEXT


def test_the_environment_sets_nothing_that_the_settings_file_should() -> None:
    """A variable goes before the file, so a default in the image would overrule what people write."""
    assert set(re.findall(r"CANARYD_[A-Z_]+", TEXT)) == {"CANARYD_STATE"}
