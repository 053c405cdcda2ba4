"""Every public name has a docstring: one line by itself, and the errors that it raises itself.

That the line of a function is imperative, ruff checks (D401).
"""

import ast
import importlib
import inspect

import pytest

ROOMS = (
    "splitreason_integrations",
    "splitreason_integrations.audit",
    "splitreason_integrations.console",
    "splitreason_integrations.decide.closing",
    "splitreason_integrations.decide.triggers",
    "splitreason_integrations.doctor",
    "splitreason_integrations.errors",
    "splitreason_integrations.problems",
    "splitreason_integrations.reviews",
    "splitreason_integrations.telemetry",
    "splitreason_integrations.testing",
    "langchain_splitreason",
    "llama_index.llms.splitreason",
)
"""Packages and modules with public names."""

OURS = ("splitreason_integrations.", "langchain_splitreason.", "llama_index.llms.splitreason.")

OF_THE_USER = {"ConfigurationError", "RequestError"}
"""Errors that a caller has to know: the call itself was wrong."""


def is_ours(value):
    """Return whether a class or function is defined in the project."""
    module = str(getattr(value, "__module__", "")) + "."
    return (inspect.isclass(value) or inspect.isfunction(value)) and module.startswith(OURS)


def public():
    """Yield each public class and function of the project with its name."""
    for room in ROOMS:
        module = importlib.import_module(room)
        for name in getattr(module, "__all__", None) or vars(module):
            value = getattr(module, name)
            if is_ours(value) and not name.startswith("_"):
                yield f"{value.__module__}.{value.__qualname__}", value


PUBLIC = dict(public())


def callables():
    """Yield the public functions, and the public methods that a class defines itself."""
    for name, value in PUBLIC.items():
        if inspect.isfunction(value):
            yield name, value, value.__doc__
        else:
            for method, defined in vars(value).items():
                function = getattr(defined, "__func__", defined)
                is_written = inspect.isfunction(function) and is_ours(function)
                shown = method in ("__init__", "__post_init__") or not method.startswith("_")
                if is_written and shown and function.__code__.co_filename != "<string>":
                    text = value.__doc__ if method.startswith("__") else function.__doc__
                    yield f"{name}.{method}", function, text


CALLABLES = {name: (function, text) for name, function, text in callables()}


def raised(function):
    """Return the errors of the user that a function raises in its own lines."""
    lines = inspect.cleandoc("\n" + inspect.getsource(function))
    for node in ast.walk(ast.parse(lines)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            name = getattr(node.exc.func, "id", None)
            if name in OF_THE_USER:
                yield name


def test_the_public_names_are_found():
    assert len(PUBLIC) > 100
    assert len(CALLABLES) > 150


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_has_one_line_and_a_blank_one(name):
    text = (
        PUBLIC[name].__dict__.get("__doc__")
        if inspect.isclass(PUBLIC[name])
        else PUBLIC[name].__doc__
    )
    assert text, name
    first, *rest = text.strip().splitlines()
    assert first.endswith((".", ":")), first
    assert not rest or not rest[0].strip(), f"{name}: the first line is a sentence by itself"


@pytest.mark.parametrize("name", [name for name in CALLABLES if set(raised(CALLABLES[name][0]))])
def test_the_errors_of_a_call_that_is_wrong_are_named(name):
    function, text = CALLABLES[name]
    missing = {error for error in raised(function) if error not in (text or "")}
    assert not missing, f"{name} raises {', '.join(missing)} and does not say so"
