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

    monkeypatch.setattr(display, "Console", console)
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
