"""Defaults in the reference as values that a reader can pass, not as the code that makes them."""

import ast
import re
from typing import Any

import griffe

from splitreason_integrations.options import OPTIONS

_OPTION = re.compile(r"OPTIONS\[(['\"])(\w+)\1\]\.default")
_MADE = {"uuid": "<a new id>", "datetime": "<now>"}
"""By the module that makes a default anew for each value: the text shown for it."""


class Signatures(griffe.Extension):
    """Replace defaults that name our own tables, and leave out what is only there to be refused."""

    def on_attribute_instance(
        self, *, node: ast.AST | griffe.ObjectNode, attr: griffe.Attribute, **kwargs: Any
    ) -> None:
        """Replace the default of a field."""
        attr.value = _value(attr.value)

    def on_class_members(
        self, *, node: ast.AST | griffe.ObjectNode, cls: griffe.Class, **kwargs: Any
    ) -> None:
        """Leave out parameters that are refused: `InitVar` fields."""
        for name, member in list(cls.members.items()):
            if member.is_attribute and "InitVar" in str(getattr(member, "annotation", "")):
                cls.del_member(name)


def _value(value: Any) -> Any:
    text = str(value)
    if found := _OPTION.search(text):
        return repr(OPTIONS[found[2]].default)
    if text == "UNNAMED":
        return repr("embedded")
    if "lambda" in text:
        return next((f"'{said}'" for module, said in _MADE.items() if module in text), value)
    return value
