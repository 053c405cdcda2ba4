"""`SplitReasonLLM`: a LlamaIndex LLM in which a large model writes only the hard spans."""

from splitreason_integrations.errors import MissingExtraError

try:
    import llama_index.core  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        "llama_index.llms.splitreason needs llama-index-core: "
        'pip install "splitreason-integrations[llama-index]"'
    ) from error

from llama_index.core.llms.loading import RECOGNIZED_LLMS

from llama_index.llms.splitreason.base import SplitReasonLLM
from llama_index.llms.splitreason.events import OffloadEvent, OffloadStreamEvent
from llama_index.llms.splitreason.human import QuestionEvent, WorkflowReviewer

# Extractors and the like read the LLM in their plain data by this table.
RECOGNIZED_LLMS[SplitReasonLLM.class_name()] = SplitReasonLLM

__all__ = [
    "OffloadEvent",
    "OffloadStreamEvent",
    "QuestionEvent",
    "SplitReasonLLM",
    "WorkflowReviewer",
]
