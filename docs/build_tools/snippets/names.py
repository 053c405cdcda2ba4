"""Code that is checked without being run: imports, keywords of calls, names of models."""

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any, cast

from splitreason_integrations.backends.description import ModelDescription
from splitreason_integrations.backends.registry import line_up, resolve
from splitreason_integrations.decide.closing import parse_close
from splitreason_integrations.decide.triggers import parse_trigger
from splitreason_integrations.errors import SplitReasonError

OURS = ("splitreason_integrations", "langchain_splitreason", "llama_index.llms.splitreason")


def _large(spec: Any) -> list[ModelDescription]:
    return [resolve(cast("str | ModelDescription", one), role="large") for one in line_up(spec)]


READERS: Mapping[str, Callable[[Any], object]] = {
    "small": lambda spec: resolve(spec, role="small"),
    "large": _large,
    "trigger": parse_trigger,
    "close": parse_close,
}
"""What reads the text form of a setting, and raises SplitReasonError where it knows it not."""


def check_names(code: ast.Module, known: Mapping[str, object]) -> Iterator[str]:
    """Yield what is wrong with code that is not run, given the names of earlier blocks."""
    names = dict(known)
    for statement in code.body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield from _import(node, names)
        for node in ast.walk(statement):
            if isinstance(node, ast.Call):
                yield from _call(node, names)
            elif isinstance(node, ast.Attribute):
                yield from _attribute(node, names)
        _remember(statement, names)


def _import(node: ast.Import | ast.ImportFrom, names: dict[str, object]) -> Iterator[str]:
    module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
    if find_spec((module or "").partition(".")[0]) is None:
        return
    try:
        exec(compile(ast.Module([node], []), "<names only>", "exec"), names)
    except ImportError as error:
        yield f"{ast.unparse(node)}: {error}"


def _found(node: ast.expr, names: Mapping[str, object]) -> object:
    """Return the object that an expression of names and attributes stands for, else None."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _found(node.value, names)
        return None if owner is None else getattr(owner, node.attr, None)
    return None


def _is_ours(found: object) -> bool:
    module = found.__name__ if inspect.ismodule(found) else getattr(found, "__module__", None)
    return isinstance(module, str) and module.startswith(OURS)


def _attribute(node: ast.Attribute, names: Mapping[str, object]) -> Iterator[str]:
    owner = _found(node.value, names)
    if inspect.ismodule(owner) and _is_ours(owner) and not hasattr(owner, node.attr):
        yield f"{ast.unparse(node)}: there is no {node.attr!r}"


def _call(node: ast.Call, names: Mapping[str, object]) -> Iterator[str]:
    called = _found(node.func, names)
    method = isinstance(node.func, ast.Attribute) and inspect.isclass(
        _found(node.func.value, names)
    )
    if isinstance(node.func, ast.Attribute):
        owner = _found(node.func.value, names)
        if inspect.isclass(owner) and _is_ours(owner) and called is None:
            yield f"{ast.unparse(node.func)}: {owner.__name__} has no {node.func.attr!r}"
    if called is None or not callable(called) or not _is_ours(called):
        return
    yield from _bound(node, called, instance=method and inspect.isfunction(called))
    yield from _values(node)


def _bound(node: ast.Call, called: Callable[..., Any], *, instance: bool) -> Iterator[str]:
    partial = any(isinstance(one, ast.Starred) for one in node.args)
    partial |= any(one.arg is None for one in node.keywords)
    positional = [None] * (instance + sum(not isinstance(one, ast.Starred) for one in node.args))
    keywords = {one.arg: None for one in node.keywords if one.arg is not None}
    signature = inspect.signature(called)
    try:
        (signature.bind_partial if partial else signature.bind)(*positional, **keywords)
    except TypeError as error:
        yield f"{ast.unparse(node.func)}(…): {error}"
        return
    fields = getattr(called, "model_fields", None)
    if fields is not None:
        allowed = {*fields, *(one.alias for one in fields.values()), *signature.parameters}
        for word in keywords.keys() - allowed:
            yield f"{ast.unparse(node.func)}(…): there is no keyword {word!r}"


def _values(node: ast.Call) -> Iterator[str]:
    """Yield models, triggers and close rules in text form that nothing knows."""
    for one in node.keywords:
        if one.arg is None or one.arg not in READERS:
            continue
        try:
            value = ast.literal_eval(one.value)
        except ValueError:
            continue
        try:
            READERS[one.arg](value)
        except SplitReasonError as error:
            yield f"{one.arg}={value!r}: {error}"


def _remember(statement: ast.stmt, names: dict[str, object]) -> None:
    """Note the class of what is assigned, so that calls of its methods can be checked."""
    made: list[tuple[ast.expr, ast.expr]] = []
    for node in ast.walk(statement):
        if isinstance(node, ast.Assign):
            made += [(target, node.value) for target in node.targets]
        elif isinstance(node, ast.withitem) and node.optional_vars is not None:
            made.append((node.optional_vars, node.context_expr))
    for target, value in made:
        if isinstance(target, ast.Name):
            names.pop(target.id, None)
            if isinstance(value, ast.Call) and inspect.isclass(_found(value.func, names)):
                names[target.id] = _found(value.func, names)
