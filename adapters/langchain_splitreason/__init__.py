"""`SplitReasonLLM`: a LangChain chat model in which a large model writes only the hard spans."""

from langchain_splitreason.chat_model import SplitReasonLLM
from langchain_splitreason.errors import ContextOverflowError, ToolChoiceError
from splitreason_integrations import __version__

__all__ = ["ContextOverflowError", "SplitReasonLLM", "ToolChoiceError", "__version__"]
