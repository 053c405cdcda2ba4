"""Errors that LangChain's own tools should recognise too."""

from langchain_core.exceptions import ContextOverflowError as LangChainContextOverflowError

from splitreason_integrations import errors


class ContextOverflowError(errors.ContextOverflowError, LangChainContextOverflowError):
    """A prompt leaves no room in a model's context."""
