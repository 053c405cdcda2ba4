"""`SplitReasonLLM`: a LangChain chat model in which a large model writes only the hard spans."""

from splitreason_integrations import __version__
from splitreason_integrations.errors import MissingExtraError, ToolChoiceError

try:
    import langchain_core  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        "langchain_splitreason needs langchain-core: "
        'pip install "splitreason-integrations[langchain]"'
    ) from error

from langchain_splitreason.chat_model import SplitReasonLLM
from langchain_splitreason.errors import ContextOverflowError
from langchain_splitreason.human import InterruptReviewer

__all__ = [
    "ContextOverflowError",
    "InterruptReviewer",
    "SplitReasonLLM",
    "ToolChoiceError",
    "__version__",
]
