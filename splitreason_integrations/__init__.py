"""A small model writes the chain of thought and hands only the hard spans to a large one.

Importing this package is light: no model library is loaded until a model is.
"""

from splitreason_integrations.audit import AuditLog
from splitreason_integrations.backends.hf.spec import TransformersModel
from splitreason_integrations.backends.openai_server.spec import OpenAIServerModel, ServerLimits
from splitreason_integrations.backends.registry import ModelSpec, release
from splitreason_integrations.backends.vllm_local.spec import VLLMModel
from splitreason_integrations.decide.ask_rules import AskRule, Handover
from splitreason_integrations.decide.closing import (
    Agrees,
    CloseNeeds,
    CloseRule,
    LowEntropy,
    OwnToken,
    SpanPlace,
    StepEnd,
    TagClose,
    parse_close,
)
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.pricing import LatencyModel, ModelTerms, Prices
from splitreason_integrations.decide.resilience import Retry
from splitreason_integrations.decide.rules import Rule
from splitreason_integrations.decide.triggers import (
    Always,
    Confidence,
    Disagreement,
    Entropy,
    Keyword,
    Loop,
    Needs,
    Never,
    Opening,
    Position,
    Random,
    Shadow,
    StepEntropy,
    Tag,
    Trigger,
    parse_trigger,
)
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import ModelInUseError, ReviewPendingError, SplitReasonError
from splitreason_integrations.humans.human import (
    Answer,
    Decision,
    HumanCheck,
    Paused,
    Question,
    Reviewer,
)
from splitreason_integrations.records import Author, Channel, Completion, Delta, SpanRecord, TextRun
from splitreason_integrations.request import Request
from splitreason_integrations.reviews import ReviewQueue
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.settings import policy_files as _policy_files  # noqa: F401  # sets Policy.files
from splitreason_integrations.telemetry import Telemetry

__version__ = "0.1.0"

__all__ = [
    "Agrees",
    "Always",
    "Answer",
    "AskRule",
    "AuditLog",
    "Author",
    "Channel",
    "CloseNeeds",
    "CloseRule",
    "Completion",
    "Confidence",
    "Decision",
    "Delta",
    "Disagreement",
    "Entropy",
    "Handover",
    "HumanCheck",
    "Keyword",
    "LatencyModel",
    "Loop",
    "LowEntropy",
    "ModelInUseError",
    "ModelSpec",
    "ModelTerms",
    "Needs",
    "Never",
    "OpenAIServerModel",
    "Opening",
    "OwnToken",
    "Paused",
    "Policy",
    "Position",
    "Prices",
    "Question",
    "Random",
    "Request",
    "Retry",
    "ReviewPendingError",
    "ReviewQueue",
    "Reviewer",
    "Rule",
    "Sampling",
    "ServerLimits",
    "Shadow",
    "SpanPlace",
    "SpanRecord",
    "SplitEngine",
    "SplitReasonError",
    "StepEnd",
    "StepEntropy",
    "Tag",
    "TagClose",
    "Telemetry",
    "TextRun",
    "TransformersModel",
    "Trigger",
    "VLLMModel",
    "__version__",
    "parse_close",
    "parse_trigger",
    "release",
]
