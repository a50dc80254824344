"""
The daemon's settings: a YAML file, then the environment (``CANARYD_<NAME>``), then what the command line says.

``config/canaryd.yaml`` shows every one of them with its default. What is about one rollout belongs in its plan.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource
from yaml import YAMLError

from canaryd.model.problem import Problem, Refused


class Settings(BaseSettings):
    """How canaryd reaches the world."""

    model_config = SettingsConfigDict(
        env_prefix="CANARYD_", extra="forbid", frozen=True, use_attribute_docstrings=True, yaml_file=None
    )

    prometheus: str = "http://prometheus.istio-system:9090"
    """Where the Prometheus API begins."""
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
    policies: Path | None = None
    """A folder of policies (CanaryPolicy, *.yaml), which plans are laid over; by default there are none."""
    mode: Literal["active", "observe"] = "active"
    """observe: every run that begins only observes, whatever its plan says; active: as each plan says."""
    log_format: Literal["auto", "text", "json"] = "auto"
    """How events are written to standard error; auto is text on a terminal and JSON elsewhere."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is written."""

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
        raise Refused(
            Problem(".".join(map(str, fault["loc"])), repr(fault["input"]), fault["msg"], "see config/canaryd.yaml")
            for fault in error.errors(include_url=False)
        ) from error
    except YAMLError as error:
        raise Refused([Problem(str(file), "", f"YAML that can be read ({error})")]) from error
