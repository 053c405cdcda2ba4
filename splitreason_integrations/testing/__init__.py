"""Fakes for tests: models that write what a script says, through the real engine.

A `ScriptedModel` takes a model's place in `SplitEngine(small=..., large=...)`. It keeps sessions as
a real one does, so prompts, handoffs, budgets, streaming and cancellation are the real thing.
"""

from splitreason_integrations.backends.embedded_codec import embedded_codec
from splitreason_integrations.testing.model import Reply, ScriptedModel
from splitreason_integrations.testing.session import ScriptedSession

__all__ = ["Reply", "ScriptedModel", "ScriptedSession", "embedded_codec"]
