"""
HTML and SVG as a tree, never as text: what a plan, a pod or an annotation says is escaped because it is a text node.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

Child = ET.Element | str

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff￾￿]")


def tag(name: str, /, *children: Child | None, **attributes: str | float) -> ET.Element:
    """
    An element. ``class_`` means class, other underscores are dashes; None as a child is nothing.

    Attributes are for our own words: what others wrote belongs into a child.
    """
    element = ET.Element(name, {_name(key): _text(value) for key, value in attributes.items()})
    append(element, *children)
    return element


def append(element: ET.Element, *children: Child | None) -> ET.Element:
    """``element`` with ``children`` after those that it has."""
    for child in children:
        if child is None:
            continue
        if isinstance(child, ET.Element):
            element.append(child)
        elif len(element):
            element[-1].tail = (element[-1].tail or "") + clean(child)
        else:
            element.text = (element.text or "") + clean(child)
    return element


def rendered(root: ET.Element) -> str:
    """The document as HTML text."""
    return "<!DOCTYPE html>\n" + ET.tostring(root, encoding="unicode", method="html") + "\n"


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _text(value: str | float) -> str:
    return f"{round(value, 2):g}" if isinstance(value, int | float) else clean(value)


def clean(text: str) -> str:
    """``text`` without characters that no document may hold."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
