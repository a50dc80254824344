"""Objects as teams write them, and what is said of them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from canaryd.importing import imported
from canaryd.importing.draft import Imported

HERE = Path(__file__).parent / "manifests"
Json = dict[str, Any]

CANARY: Json = yaml.safe_load("""
apiVersion: flagger.app/v1beta1
kind: Canary
metadata: {name: podinfo, namespace: test}
spec:
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: podinfo}
  service: {port: 9898}
  analysis: {interval: 1m, threshold: 5, stepWeight: 10, maxWeight: 50}
""")
ROLLOUT: Json = yaml.safe_load("""
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: reviews, namespace: shop}
spec:
  strategy:
    canary:
      canaryService: reviews-canary
      stableService: reviews-stable
      trafficRouting: {istio: {virtualService: {name: reviews}}}
      steps:
      - setWeight: 10
      - pause: {duration: 5m}
      - setWeight: 50
      - pause: {duration: 10m}
""")
TEMPLATE: Json = yaml.safe_load("""
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {name: ratio, namespace: shop}
spec:
  metrics:
  - name: ratio
    successCondition: result[0] >= 0.95
    provider: {prometheus: {query: 'sum(up)'}}
""")


def read(*objects: Json | str) -> list[Imported]:
    """The plans in them, as ``canaryd import`` makes them."""
    texts = [one if isinstance(one, str) else yaml.safe_dump(one) for one in objects]
    return imported([("given", "---\n".join(texts))])[0]


def one(*objects: Json | str) -> Imported:
    """The only plan in them."""
    (found,) = read(*objects)
    return found


def content(*objects: Json | str) -> Any:
    """The plan's spec as it is written."""
    return one(*objects).content["spec"]


def flagger(analysis: Json | None = None, **spec: Any) -> Json:
    """A Canary with another analysis, and more in its spec; None takes a key out."""
    made = copy.deepcopy(CANARY)
    made["spec"] |= spec
    made["spec"]["analysis"] = _without_none(made["spec"]["analysis"] | (analysis or {}))
    return made


def argo(steps: list[Json] | None = None, **canary: Any) -> Json:
    """A Rollout with other steps, and more in its strategy; None takes a key out."""
    made = copy.deepcopy(ROLLOUT)
    strategy = made["spec"]["strategy"]
    strategy["canary"] = _without_none(strategy["canary"] | canary | ({} if steps is None else {"steps": steps}))
    return made


def template(**metric: Any) -> Json:
    """An AnalysisTemplate with another metric."""
    made = copy.deepcopy(TEMPLATE)
    made["spec"]["metrics"] = [_without_none(made["spec"]["metrics"][0] | metric)]
    return made


def _without_none(found: Json) -> Json:
    return {key: value for key, value in found.items() if value is not None}


def fate(found: Imported, path: str) -> str:
    """What became of a field: the kind of its fate."""
    return next(one.kind for one in found.fates if one.path == path or path.startswith(f"{one.path}."))


def said(found: Imported) -> str:
    """Everything that is said of what is lost, and every note."""
    return "\n".join([*map(str, found.lost), *found.notes])
