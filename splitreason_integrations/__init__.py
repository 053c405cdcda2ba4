"""A small model writes the chain of thought and hands only the hard spans to a large one.

Importing this package is light: no model library is loaded until a model is.
"""

from splitreason_integrations.backends.registry import ModelSpec, TransformersModel
from splitreason_integrations.engine import Request, SplitEngine
from splitreason_integrations.errors import SplitReasonError
from splitreason_integrations.policy import Policy, Prices
from splitreason_integrations.records import Author, Channel, Completion, Delta, SpanRecord
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.triggers import (
    Always,
    Entropy,
    Keyword,
    Never,
    Random,
    Shadow,
    Tag,
    Trigger,
    parse_trigger,
)

__version__ = "0.1.0"

__all__ = [
    "Always",
    "Author",
    "Channel",
    "Completion",
    "Delta",
    "Entropy",
    "Keyword",
    "ModelSpec",
    "Never",
    "Policy",
    "Prices",
    "Random",
    "Request",
    "Sampling",
    "Shadow",
    "SpanRecord",
    "SplitEngine",
    "SplitReasonError",
    "Tag",
    "TransformersModel",
    "Trigger",
    "__version__",
    "parse_trigger",
]
