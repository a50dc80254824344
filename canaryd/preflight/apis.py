"""
Which of Istio's APIs this cluster serves, and in which versions.

``v1`` and ``v1beta1`` of networking.istio.io have one schema, and canaryd works with either; ``v1alpha3`` alone is
Istio before 1.5. Source: istio/api, kubernetes/customresourcedefinitions.gen.yaml.
"""

from __future__ import annotations

from collections.abc import Iterator

from canaryd.kube import VIRTUAL_SERVICES
from canaryd.mesh.virtualservice import VERSIONS
from canaryd.model.finding import Code, Finding
from canaryd.preflight.survey import Survey

TITLE = "The APIs"

ISTIO_UNSERVED = Code(
    "IstioNotServed",
    "error",
    "The API server does not serve networking.istio.io: Istio's definitions (CRDs) are not installed, so that there is "
    "no weight that could be moved.",
    "Install Istio, or its definitions alone (`helm install istio-base istio/base -n istio-system`), or name the "
    "cluster that has them (`--context`).",
)
ISTIO_TOO_OLD = Code(
    "IstioTooOld",
    "error",
    "networking.istio.io is served in no version that canaryd speaks (v1, v1beta1).",
    "Install the definitions (CRDs) of a supported Istio.",
)
ISTIO_BEFORE_1_22 = Code(
    "IstioBefore122",
    "info",
    "networking.istio.io is served without v1, as by definitions from before Istio 1.22. canaryd speaks v1beta1 then, "
    "which has the same schema. Istio before 1.24 retries 503 by itself, unless the entry or the mesh says otherwise, "
    "so that callers see fewer of them than the versions produce.",
    "Nothing, or upgrade Istio.",
)

CODES = (ISTIO_UNSERVED, ISTIO_TOO_OLD, ISTIO_BEFORE_1_22)


def check(survey: Survey) -> Iterator[Finding]:
    """What is said of the versions in which Istio's networking API is served."""
    group = VIRTUAL_SERVICES.group
    if (versions := survey.served.get(group)) is None:
        return
    listed = ", ".join(versions)
    if not versions:
        yield ISTIO_UNSERVED.at(group, "not served by this API server: Istio's CRDs are not installed here")
    elif not set(VERSIONS) & set(versions):
        yield ISTIO_TOO_OLD.at(group, f"served only as {listed}; canaryd speaks {' and '.join(VERSIONS)}")
    elif VERSIONS[0] not in versions:
        yield ISTIO_BEFORE_1_22.at(group, f"served as {listed}, without {VERSIONS[0]}: CRDs from before Istio 1.22")
