"""
The CustomResourceDefinitions, made from the models that validate plans, so that the two cannot differ.

What people write has no defaults in its schema, on purpose: the API server would write them into each plan, and nobody
could tell any more what was left out, which is what a policy fills in. The default stands in the description instead.
What a schema cannot say is said in CEL; what CEL cannot afford is said by the controller, in the plan's conditions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, get_args

import yaml
from pydantic_core import PydanticUndefined

from canaryd.kube import (
    CANARY_FREEZES,
    CANARY_PLANS,
    CANARY_POLICIES,
    CANARY_RECORDS,
    CANARY_RUNS,
    GROUP,
    VERSION,
    Kind,
)
from canaryd.model.part import Part
from canaryd.model.plan import Plan
from canaryd.model.run import Outcome, Phase, Verb

Object = dict[str, Any]

MOST_ITEMS = 100
"""Items of any list in a plan: more than anybody needs, and few enough for the API server's budget for CEL."""
MOST_COMMANDS = 100
LONGEST_TEXT = 4096
"""Characters of what people write."""
LONGEST_COMMAND = 65_536
"""Characters of a command that is to be pasted: cut short it would do harm."""
DECISIONS = 50
"""How many of a run's decisions its status tells."""

_NAME = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_KEPT = ("type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "nullable")
_NOT_IN_POLICIES = {"target", "release", "from"}


def definitions() -> tuple[Object, ...]:
    """The definitions, as objects to apply: plans, policies, runs, the machine's records of runs, and freezes."""
    return (_plans(), _policies(), _runs(), _records(), _freezes())


def manifest(found: Iterable[Object]) -> str:
    """Objects as YAML documents to apply."""
    return "".join(
        "---\n" + yaml.safe_dump(one, sort_keys=False, width=120, allow_unicode=True, default_flow_style=False)
        for one in found
    )


# ---------------------------------------------------------------------------------------------------------------------
# The kinds


def _plans() -> Object:
    spec = spec_schema()
    spec["required"] = ["target"]
    schema = _root("A rollout plan: what moves, by which steps, and how it is judged. A new release starts a run.")
    schema["properties"] |= {"spec": spec, "status": _plan_status()}
    schema["required"] = ["spec"]
    schema["x-kubernetes-validations"] = [
        _rule(
            f"self.metadata.name.matches('{_NAME}')",
            "metadata.name: a name of small letters, digits and hyphens, of at most 63 characters",
        )
    ]
    columns = [
        _column("Release", ".spec.release", "What is to be released"),
        _column("Run", ".status.run", "The CanaryRun that carries it out, or did last", priority=1),
        *_standing(),
    ]
    return _definition(CANARY_PLANS, "CanaryPlan", ["cplan"], schema, columns=columns, status=True)


def _policies() -> Object:
    spec = spec_schema()
    spec["properties"] = {key: one for key, one in spec["properties"].items() if key not in _NOT_IN_POLICIES}
    spec["description"] = "What plans take from here where they leave it out: anything but target, release and from."
    schema = _root(
        "What many plans have in common. The one named default holds for every plan; another is picked by spec.from."
    )
    schema["properties"]["spec"] = spec
    schema["required"] = ["spec"]
    return _definition(
        CANARY_POLICIES,
        "CanaryPolicy",
        ["cpol"],
        schema,
        in_category=True,
        columns=[_age()],
        scope="Cluster",
    )


def _runs() -> Object:
    schema = _root("One execution of a plan, with a copy of it. Made and told by canaryd; people abort or approve.")
    schema["properties"] |= {"spec": _run_spec(), "status": _run_status()}
    schema["required"] = ["spec"]
    columns = [
        _column("Plan", ".spec.plan.metadata.name", "The plan that is carried out"),
        _column("Release", ".spec.plan.spec.release", "What is released"),
        *_standing(),
    ]
    return _definition(CANARY_RUNS, "CanaryRun", ["crun"], schema, columns=columns, status=True)


def _freezes() -> Object:
    schema = _root(
        "While it is there, no plan of its namespace starts and no run's traffic rises; what goes back goes back. "
        "In canaryd's own namespace: of all namespaces."
    )
    schema["properties"]["spec"] = _struct(
        "Why, whose and until when.",
        required=("reason",),
        reason=_text("Why; who waits is told.", 1024) | {"minLength": 1},
        owner=_text("Whose it is: the user name of who created it, or nothing.", 256),
        until=_time("When it ends by itself. Default: when it is deleted."),
        stop={"type": "boolean", "description": "Roll back every run in flight, too. Default: False."},
    )
    schema["required"] = ["spec"]
    columns = [
        _column("Until", ".spec.until", "When it ends by itself"),
        _column("Stop", ".spec.stop", "Whether runs in flight are rolled back", kind="boolean"),
        _column("Owner", ".spec.owner", "Whose it is"),
        _age(),
        _column("Reason", ".spec.reason", "Why"),
    ]
    return _definition(CANARY_FREEZES, "CanaryFreeze", ["cfreeze"], schema, columns=columns)


def _records() -> Object:
    schema = _root("What canaryd remembers of a run between two moments: for the machine, not for people.")
    schema["properties"] |= {
        "schema": {"type": "integer", "minimum": 1, "description": "How data is written."},
        "judge": {"type": "string", "description": "The version of the judge whose state is in data."},
        "version": {"type": "integer", "minimum": 1, "description": "Counts the saves."},
        "data": {"type": "string", "description": "The run: JSON, compressed by zlib, in base64."},
    }
    schema["required"] = ["schema", "judge", "version", "data"]
    columns = [
        _column("Version", ".version", "How often it was saved", kind="integer"),
        _column("Judge", ".judge", "The judge's version"),
        _age(),
    ]
    return _definition(CANARY_RECORDS, "CanaryRecord", ["crec"], schema, columns=columns, in_category=False)


# ---------------------------------------------------------------------------------------------------------------------
# A plan's schema, from the models


def spec_schema() -> Object:
    """The structural schema of a plan's spec, everything optional at its top and nothing defaulted."""
    whole = Plan.model_json_schema(by_alias=True)
    defaults = {part.__name__: _defaults(part) for part in _parts(Plan)}
    found = _structural(whole["$defs"]["Spec"], whole["$defs"], defaults)
    found.pop("required", None)
    found["properties"]["steps"] = _ruled(
        found["properties"]["steps"],
        _rule(
            f"{_indices(MOST_ITEMS)}.all(i, i + 1 >= size(self) || !has(self[i].weight) || "
            "(has(self[i + 1].weight) && self[i].weight < self[i + 1].weight) || "
            "(self[i].weight == 0.0 && (!has(self[i + 1].weight) || self[i + 1].weight == 0.0)))",
            "weights that rise from step to step",
        ),
    )
    step = found["properties"]["steps"]["items"]
    found["properties"]["steps"]["items"] = _ruled(
        step, _rule("has(self.match) || (has(self.weight) && self.weight > 0.0)", "a weight above 0, or a match")
    )
    target = found["properties"]["target"]["properties"]
    for side in ("stable", "canary"):
        target[side] = _ruled(
            target[side],
            _rule(
                "(has(self.subset) && self.subset != '') || (has(self.host) && self.host != '')",
                "a subset of the host's DestinationRule, or a host of its own",
            ),
        )
    return found


def _structural(schema: Mapping[str, Any], defs: Mapping[str, Any], defaults: Mapping[str, Object]) -> Object:
    """
    pydantic's schema in the API server's dialect.

    References are written out, "or null" becomes nullable, a constant an enum of one, and an excluded bound a rule
    where it is not 0 (OpenAPI v3.0 has it as a flag). What may be of several types is left open: the API server knows
    only "integer or string", and shares beside fractions are none.
    """
    if "$ref" in schema:
        inner = defs[schema["$ref"].rsplit("/", 1)[1]]
        return _structural({**inner, **{key: one for key, one in schema.items() if key != "$ref"}}, defs, defaults)
    if "anyOf" in schema:
        options = [one for one in schema["anyOf"] if one.get("type") != "null"]
        rest = {key: one for key, one in schema.items() if key != "anyOf"}
        if len(options) == 1:
            return _structural({**options[0], **rest}, defs, defaults)
        if {one.get("type") for one in options} == {"integer", "string"}:
            return {"x-kubernetes-int-or-string": True} | _described(schema)
        return {"x-kubernetes-preserve-unknown-fields": True} | _described(schema)
    found: Object = {key: schema[key] for key in _KEPT if key in schema}
    found |= _described(schema)
    if "const" in schema:
        found["enum"] = [schema["const"]]
    for bound, key in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if bound in schema:
            found |= {key: schema[bound], bound: True}
    if "properties" in schema:
        known = defaults.get(str(schema.get("title")), {})
        found["properties"] = {
            key: _said(_structural(one, defs, defaults), known.get(key)) for key, one in schema["properties"].items()
        }
        if needed := schema.get("required"):
            found["required"] = list(needed)
    elif isinstance(schema.get("additionalProperties"), Mapping):
        found["additionalProperties"] = _structural(schema["additionalProperties"], defs, defaults)
    elif schema.get("patternProperties"):  # a structural schema does not know them: whose names fit is for us to say
        [one] = schema["patternProperties"].values()
        found["additionalProperties"] = _structural(one, defs, defaults)
    if "items" in schema:
        found["items"] = _structural(schema["items"], defs, defaults)
        found.setdefault("maxItems", MOST_ITEMS)
    if found.get("type") == "string" and "enum" not in found:
        found.setdefault("maxLength", LONGEST_TEXT)
    return found


def _described(schema: Mapping[str, Any]) -> Object:
    text = " ".join(str(schema.get("description", "")).split()).replace("``", "`")
    return {"description": text} if text else {}


def _said(schema: Object, default: Any) -> Object:
    """``schema`` with its default in words."""
    if default in (None, "", [], {}) or isinstance(default, dict):
        return schema
    if isinstance(default, list) and isinstance(default[0], dict):
        return schema
    shown = ", ".join(map(str, default)) if isinstance(default, list) else default
    text = str(schema.get("description", ""))
    return schema | {"description": f"{text} Default: {shown}.".lstrip()}


def _defaults(part: type[Part]) -> Object:
    """The defaults of a part as YAML has them, by key."""
    whole = part.model_construct()
    known = {name for name, field in part.model_fields.items() if field.default is not PydanticUndefined}
    return whole.model_dump(mode="json", include=known, by_alias=True, warnings=False)


def _parts(part: type[Part]) -> Iterator[type[Part]]:
    yield part
    for field in part.model_fields.values():
        for inner in _parts_in(field.annotation):
            yield from _parts(inner)


def _parts_in(annotation: Any) -> Iterator[type[Part]]:
    if isinstance(annotation, type) and issubclass(annotation, Part):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _parts_in(argument)


# ---------------------------------------------------------------------------------------------------------------------
# A run


def _run_spec() -> Object:
    place: Object = {
        "virtualService": _text("Its name, in the run's namespace."),
        "entries": _list(
            "The http entries, by name, or by place where they have none.",
            _struct("", required=("index",), index=_integer("The place, from 0."), name=_text("The name.")),
        ),
        "stable": _version("The present version."),
        "canary": _version("The new version."),
    }
    route = _struct(
        "What the run moves: entries of one VirtualService, and the two versions in each of them.",
        required=tuple(place),
        **place,
        also=_list("Further VirtualServices that move along.", _struct("", required=tuple(place), **deepcopy(place))),
    )
    command: Object = {
        "id": _text("Makes it one command however often it is read. When left out: its place in the list.", 128),
        "reason": _text("Why; it is kept for ever.", 1024),
        "by": _text("Who asks.", 256),
        "force": {
            "type": "boolean",
            "description": "Go back even though stable has no ready endpoint; promote from any step.",
        },
    }
    abort = _struct("Roll the run back, for good. An abort cannot be taken back.", **command)
    commands = _list(
        "What people ask of the run, the newest last; each is obeyed once.",
        _struct(
            "One command.",
            required=("verb",),
            verb={
                "type": "string",
                "enum": list(get_args(Verb)),
                "description": "What to do: approve opens the gate; hold lets nothing rise until resume, which also "
                "sets the run's weights again after somebody changed them, where adopt takes those over; advance ends "
                "the present step without a PASS; skip leaves a later one out; promote promotes without proof; abort "
                "rolls back. Of a run that has ended: undo takes a promotion back, retry runs the release again.",
            },
            skips={"type": "integer", "minimum": 0, "description": "The step, from 0, that skip leaves out."},
            step={
                "type": "integer",
                "minimum": -1,
                "description": "The step that is meant, from 0; -1: the gate before the start. "
                "Void when the run is at another. When left out: any; for approve the gate that the run waits at.",
            },
            **command,
        ),
        most=MOST_COMMANDS,
    )
    spec = _struct(
        "The run as it began. Only abort and commands can be changed.",
        required=("plan", "route", "created", "split"),
        plan={
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
            "description": "The whole plan as it was when the run began, with what its policies said.",
        },
        route=route,
        created=_time("When the run began."),
        split={"type": "number", "minimum": 0, "maximum": 100, "description": "The canary's share then, in percent."},
        undoes=_struct(
            "Where this run takes back what another has promoted: which, and who asked for it.",
            required=("run", "why"),
            run=_text("The other run."),
            why=_text("Who asked for it, and why."),
            force=command["force"],
        ),
        abort=abort,
        commands=commands,
    )
    former = "oldSelf.commands"
    spec["x-kubernetes-validations"] = [
        _rule(
            " && ".join(f"self.{key} == oldSelf.{key}" for key in ("plan", "route", "created", "split"))
            + " && has(self.undoes) == has(oldSelf.undoes) && (!has(self.undoes) || self.undoes == oldSelf.undoes)",
            "a run's plan is fixed when it begins: change the CanaryPlan, or abort this run with spec.abort",
        ),
        _rule(
            "!has(oldSelf.abort) || (has(self.abort) && self.abort == oldSelf.abort)",
            "an abort cannot be taken back or changed: start the release again with a new spec.release in the plan",
        ),
        _rule(
            f"!has({former}) || (has(self.commands) && size(self.commands) >= size({former}) && "
            f"{_indices(MOST_COMMANDS)}.all(i, i >= size({former}) || self.commands[i] == {former}[i]))",
            "commands are only added, at the end: none can be changed or taken away",
        ),
    ]
    return spec


def _version(what: str) -> Object:
    return _struct(what, required=("host",), host=_text("The host."), subset=_text("The subset; none: the whole host."))


def _standing() -> list[Object]:
    """The columns that say where a run stands; the sentence is the last, so that its length moves no other column."""
    return [
        _column("Phase", ".status.phase", "Where it stands"),
        _column("Step", ".status.step", "The step it is at, and how many there are"),
        _column("Weight", ".status.weight", "The canary's share"),
        _column("Verdict", ".status.verdict", "What the evidence says"),
        _age(),
        _column("Why", ".status.why", "What it waits for, or how it ended"),
    ]


def _where() -> Object:
    phases = ", ".join(phase.value for phase in Phase)
    return {
        "phase": _text(f"Where it stands: {phases}; or held."),
        "step": _text("The step it is at, and how many there are: 2/4."),
        "weight": _text("The canary's share that canaryd wants: 25 %."),
        "verdict": _text("What the evidence says: PASS, FAIL or INCONCLUSIVE; nothing before there is any."),
        "why": _text("In one sentence: what it waits for, or how it ended."),
        "breakGlass": _text(
            "The exact command that gives stable all the traffic, for the case that canaryd is away.", LONGEST_COMMAND
        ),
        "conditions": _conditions(),
    }


def _plan_status() -> Object:
    return _struct(
        "Where the plan's release stands. Written by canaryd only.",
        **_where(),
        observedGeneration={"type": "integer", "format": "int64", "description": "The generation that this speaks of."},
        release=_text("The release that this speaks of."),
        run=_text("The CanaryRun that carries it out, or did last."),
        turnedDown=_text("A release that came while another was in flight, and by onNewRelease: refuse is not run."),
        asked=_struct(
            "The release that waits to begin; who asked first is first in the queue.",
            release=_text("The release."),
            at=_time("When it was asked for first."),
        ),
        settled=_struct(
            "The release that was last run to its end.",
            release=_text("The release."),
            run=_text("Its run."),
            outcome=_text("How it ended."),
            at=_time("When."),
        ),
    )


def _run_status() -> Object:
    outcomes = ", ".join(outcome.value for outcome in Outcome)
    return _struct(
        "Where the run stands, for people and kubectl wait. Written by canaryd only; it decides nothing by it.",
        **_where(),
        outcome=_text(f"How it ended: {outcomes}; nothing before."),
        started=_time("When it began."),
        ended=_time("When it ended."),
        obeyed=_list("The commands that were heard.", _text("The command's id.")),
        seq={"type": "integer", "format": "int64", "description": "How many times weights were written."},
        evidence=_list("What each check says, in a sentence.", _text("One check.")),
        decisions=_list(
            f"The last {DECISIONS} decisions, the newest last.",
            _struct(
                "One decision.",
                at=_time("When."),
                event=_text("What happened, as docs/operations.md lists it."),
                phase=_text("The phase after it."),
                weight=_text("The canary's share after it."),
                reason=_text("Why, in one sentence."),
                by=_text("Who asked for it, where somebody did."),
            ),
            most=DECISIONS,
        ),
        findings=_list(
            "What preflight found before the run began, and did not stop it.",
            _struct(
                "One finding.",
                code=_text("Its kind, as docs/preflight.md lists it."),
                level=_text("warning or info; or error, of a plan that only observes."),
                where=_text("The object."),
                sentence=_text("What is the matter with it."),
                remedy=_text("The command that makes an end of it."),
                transient={"type": "boolean", "description": "It passes by itself."},
                details=_list("What more there is to say of it.", _text("One sentence.")),
            ),
        ),
        schema={"type": "integer", "description": "How the run's record is written."},
        judge=_text("The version of the judge."),
    )


def _conditions() -> Object:
    """Source: k8s.io/apimachinery, pkg/apis/meta/v1: Condition, with the same bounds."""
    return {
        "type": "array",
        "description": "Conditions in Kubernetes' usual shape, for kubectl wait and for tools.",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "maxItems": 16,
        "items": _struct(
            "One condition.",
            required=("type", "status", "reason", "message", "lastTransitionTime"),
            type={
                "type": "string",
                "maxLength": 316,
                "pattern": r"^[A-Za-z][A-Za-z0-9]*$",
                "description": "Which condition.",
            },
            status={"type": "string", "enum": ["True", "False", "Unknown"], "description": "Whether it holds."},
            reason={
                "type": "string",
                "minLength": 1,
                "maxLength": 1024,
                "pattern": r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                "description": "Why, in one word for machines.",
            },
            message={"type": "string", "maxLength": 32768, "description": "Why, in a sentence for people."},
            lastTransitionTime=_time("When the status last changed."),
            observedGeneration={
                "type": "integer",
                "format": "int64",
                "minimum": 0,
                "description": "The generation that this speaks of.",
            },
        ),
    }


# ---------------------------------------------------------------------------------------------------------------------
# Words to write schemas with


def _definition(
    kind: Kind,
    name: str,
    short: Sequence[str],
    schema: Object,
    *,
    columns: Sequence[Object],
    status: bool = False,
    scope: str = "Namespaced",
    in_category: bool = True,
) -> Object:
    names: Object = {
        "kind": name,
        "listKind": f"{name}List",
        "plural": kind.plural,
        "singular": name.lower(),
        "shortNames": list(short),
    }
    if in_category:
        names["categories"] = ["canaryd"]
    version: Object = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": list(columns),
    }
    if status:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kind.group}", "labels": {"app.kubernetes.io/part-of": "canaryd"}},
        "spec": {"group": GROUP, "scope": scope, "names": names, "versions": [version]},
    }


def _root(description: str) -> Object:
    return {
        "type": "object",
        "description": description,
        "properties": {
            "apiVersion": {"type": "string", "description": "The version of this schema."},
            "kind": {"type": "string", "description": "What this object is."},
            "metadata": {"type": "object"},
        },
    }


def _struct(what: str, /, *, required: Sequence[str] = (), **properties: Object) -> Object:
    found: Object = {"type": "object", "properties": properties}
    if what:
        found["description"] = what
    if required:
        found["required"] = list(required)
    return found


def _list(what: str, items: Object, *, most: int = MOST_ITEMS) -> Object:
    return {"type": "array", "description": what, "items": items, "maxItems": most, "x-kubernetes-list-type": "atomic"}


def _text(what: str, most: int = LONGEST_TEXT) -> Object:
    return {"type": "string", "description": what, "maxLength": most}


def _integer(what: str) -> Object:
    return {"type": "integer", "minimum": 0, "description": what}


def _time(what: str) -> Object:
    return {"type": "string", "format": "date-time", "description": what}


def _column(name: str, path: str, what: str, kind: str = "string", priority: int = 0) -> Object:
    """A printer column; one of another priority than 0 is shown by `kubectl get -o wide` only."""
    column = {"name": name, "type": kind, "jsonPath": path, "description": what}
    return column | ({"priority": priority} if priority else {})


def _age() -> Object:
    return _column("Age", ".metadata.creationTimestamp", "How long it has been there", kind="date")


def _rule(rule: str, message: str) -> Object:
    return {"rule": rule, "message": message}


def _ruled(schema: Object, *rules: Object) -> Object:
    return schema | {"x-kubernetes-validations": list(rules)}


def _indices(count: int) -> str:
    """The list of places in CEL, which has no range: so are lists compared in order by API servers of any age."""
    return "[" + ", ".join(map(str, range(count))) + "]"
