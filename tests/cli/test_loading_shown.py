"""The command shows which models it loads; what it prints for programs stays clean."""

import io

from rich.console import Console

from splitreason_integrations import SplitEngine, TransformersModel
from splitreason_integrations.backends.registry import is_loaded
from splitreason_integrations.cli import display
from splitreason_integrations.decide.triggers import Never
from splitreason_integrations.embedded import path
from splitreason_integrations.testing import ScriptedModel


def shown(monkeypatch, engine):
    """What loading an engine's models prints at a terminal, on standard error."""
    output = io.StringIO()

    def console(**options):
        assert options == {"stderr": True}
        return Console(file=output, force_terminal=True)

    monkeypatch.setattr(display, "Screen", console)
    display.load_models(engine)
    return output.getvalue()


def test_local_weights_are_shown_while_they_load(monkeypatch, capsys):
    spec = TransformersModel(str(path("small")), device="cpu", name="shown-once")
    engine = SplitEngine(small=spec, large=ScriptedModel("x", name="scripted"))
    assert "loading shown-once, the small model …" in shown(monkeypatch, engine)
    assert is_loaded(spec, role="small")
    assert shown(monkeypatch, engine) == ""
    assert capsys.readouterr().out == ""


def test_models_that_are_not_loaded_here_are_not_shown(monkeypatch):
    small = ScriptedModel("x", name="scripted")
    server = SplitEngine(small=small, large="http://127.0.0.1:9/v1#m")
    assert shown(monkeypatch, server) == ""
    unused = SplitEngine(small=small, large="hf:/nowhere", trigger=Never())
    assert shown(monkeypatch, unused) == ""


def lines_of(monkeypatch, done_at, *, terminal=False, name="small", **fields):
    """What is printed while work is reported at these seconds, and every 10 s at most."""
    output, clock = io.StringIO(), iter([0.0, *done_at])
    monkeypatch.setattr(display, "PLAIN_EVERY_S", 10, raising=False)
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    monkeypatch.setattr(
        display, "Screen", lambda **_: Console(file=output, force_terminal=terminal, width=40)
    )
    with display.progress_bar() as bar:
        task = bar.add_task(name, total=2000, **fields)
        for done in range(len(done_at)):
            bar.update(task, completed=500 * (done + 1))
    return output.getvalue()


def test_without_a_terminal_progress_is_a_line_now_and_then(monkeypatch):
    assert (
        lines_of(monkeypatch, [9, 11, 15, 22]) == "small: 1,000 of 2,000\nsmall: 2,000 of 2,000\n"
    )
    assert lines_of(monkeypatch, [1, 2, 3, 4]) == ""
    said = lines_of(monkeypatch, [11], spent="0.02 USD")
    assert said == "small: 500 of 2,000, 0.02 USD\n"


def test_at_a_terminal_progress_is_a_bar_and_no_line(monkeypatch):
    assert " of 2,000" not in lines_of(monkeypatch, [11, 22, 33], terminal=True)


def test_names_in_lines_of_progress_act_on_no_terminal(monkeypatch):
    said = lines_of(monkeypatch, [11], name="[red]\x1b[2Jname")
    assert said == "[red]\\x1b[2Jname: 500 of 2,000\n"
