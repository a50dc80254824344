"""
What a label, an annotation and a name may look like, with the sentences that say so.

Source: apimachinery, pkg/api/validation and pkg/util/validation/validation.go.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from canaryd.lab.kubernetes.status import Cause, Object

_NAME = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_1035 = r"[a-z]([-a-z0-9]*[a-z0-9])?"
_EMPTY = "must not be empty"
_LONGEST_LABEL = 63
_LONGEST_SUBDOMAIN = 253
_MOST_ANNOTATIONS = 256 * 1024

SUBDOMAIN_TOLD = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    f"end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
)
LABEL_TOLD = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    f"an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
)
LABEL_1035_TOLD = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    f"'{_LABEL_1035}')"
)
_NAME_TOLD = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    f"character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_NAME}')"
)
_VALUE_TOLD = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def wrong_name(name: str, kind: str) -> list[str]:
    """What is wrong with an object's name: namespaces and services are labels, everything else a subdomain."""
    if kind in ("Namespace", "Service"):
        pattern, told = (_LABEL, LABEL_TOLD) if kind == "Namespace" else (_LABEL_1035, LABEL_1035_TOLD)
        longest = _LONGEST_LABEL
    elif kind in ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"):
        return [f"may not contain '{one}'" for one in ("/", "%") if one in name]
    else:
        pattern, told, longest = _SUBDOMAIN, SUBDOMAIN_TOLD, _LONGEST_SUBDOMAIN
    wrong = [f"must be no more than {longest} characters"] if len(name) > longest else []
    return wrong if re.fullmatch(pattern, name) else [*wrong, told]


def wrong_metadata(metadata: Object) -> Iterator[Cause]:
    """What is wrong with labels and annotations, one cause for each."""
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    for key, value in labels.items():
        yield from _wrong_key(str(key), "metadata.labels")
        for told in _wrong_value(str(value)):
            yield Cause("FieldValueInvalid", f"Invalid value: {json.dumps(value)}: {told}", "metadata.labels")
    for key in annotations:
        yield from _wrong_key(str(key), "metadata.annotations")
    for one in metadata.get("ownerReferences") or ():
        for field in ("apiVersion", "kind", "name", "uid"):
            told = f"version {_EMPTY}" if field == "apiVersion" else _EMPTY
            if not one.get(field):
                yield Cause("FieldValueInvalid", f'Invalid value: "": {told}', f"metadata.ownerReferences.{field}")
    size = sum(len(str(key)) + len(str(value)) for key, value in annotations.items())
    if size > _MOST_ANNOTATIONS:
        told = f"Too long: may not be more than {_MOST_ANNOTATIONS} bytes"
        yield Cause("FieldValueTooLong", told, "metadata.annotations")


def _wrong_key(key: str, field: str) -> Iterator[Cause]:
    for told in wrong_key(key):
        yield Cause("FieldValueInvalid", f"Invalid value: {json.dumps(key)}: {told}", field)


def wrong_key(key: str) -> list[str]:
    """What is wrong with a label's key: an optional prefix, a slash, a name."""
    prefix, slash, name = key.rpartition("/")
    wrong: list[str] = []
    if "/" in prefix:
        told = (
            f"a valid label key {_NAME_TOLD.removeprefix('name part ')} with an optional DNS subdomain prefix and '/' "
            "(e.g. 'example.com/MyName')"
        )
        return [told]
    if slash:
        if not prefix:
            wrong.append("prefix part must be non-empty")
        elif not re.fullmatch(_SUBDOMAIN, prefix):
            wrong.append(f"prefix part {SUBDOMAIN_TOLD}")
    if not name:
        wrong.append("name part must be non-empty")
    elif len(name) > _LONGEST_LABEL:
        wrong.append(f"name part must be no more than {_LONGEST_LABEL} characters")
    if not re.fullmatch(_NAME, name):
        wrong.append(_NAME_TOLD)
    return wrong


def _wrong_value(value: str) -> list[str]:
    wrong = [f"must be no more than {_LONGEST_LABEL} characters"] if len(value) > _LONGEST_LABEL else []
    return wrong if re.fullmatch(rf"({_NAME})?", value) else [*wrong, _VALUE_TOLD]
