"""Gives a chat model the run that it serves, and closes streams that a caller leaves early.

LangChain streams without passing the run's callback manager on; here every method gets it as the
private argument `RUN`. The paused request that `resume` continues comes as `ANSWERED`.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any
from uuid import UUID

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForLLMRun,
    BaseCallbackHandler,
    CallbackManager,
    CallbackManagerForLLMRun,
)
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config

from langchain_splitreason.caching import with_cache
from langchain_splitreason.results import with_errors

RUN = "splitreason_run"
ANSWERED = "splitreason_answered"

RunManager = CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun


class Run:
    """One run: its manager once it has started, and the generator that writes its reply."""

    def __init__(self, manager: RunManager | None = None) -> None:
        self.manager = manager
        self.writing: Any = None


class RunListener(BaseCallbackHandler):
    """Records the run, and its handlers, when LangChain starts it."""

    run_inline = True

    def __init__(
        self, run: Run, callbacks: CallbackManager | AsyncCallbackManager, kind: type[RunManager]
    ) -> None:
        self._run = run
        self._handlers = list(callbacks.handlers)
        self._inheritable = list(callbacks.inheritable_handlers)
        self._kind = kind

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Record the run."""
        self._run.manager = self._kind(
            run_id=run_id,
            handlers=self._handlers,
            inheritable_handlers=self._inheritable,
            parent_run_id=parent_run_id,
            tags=tags,
            inheritable_tags=tags,
            metadata=metadata,
            inheritable_metadata=metadata,
        )


class TracedChatModel(BaseChatModel):
    """A chat model whose native methods find their run in the argument `RUN`."""

    def stream(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """Yield the reply's chunks; closing the iterator stops both models."""
        config = ensure_config(config)
        callbacks = CallbackManager.configure(config.get("callbacks"), self.callbacks, self.verbose)
        run = Run()
        callbacks.add_handler(RunListener(run, callbacks, CallbackManagerForLLMRun), inherit=False)
        config["callbacks"] = callbacks
        try:
            yield from super().stream(input, config, stop=stop, **{**kwargs, RUN: run})
        finally:
            if run.writing is not None:
                run.writing.close()

    async def astream(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Yield the reply's chunks; closing the iterator stops both models."""
        config = ensure_config(config)
        callbacks = AsyncCallbackManager.configure(
            config.get("callbacks"), self.callbacks, self.verbose
        )
        run = Run()
        listener = RunListener(run, callbacks, AsyncCallbackManagerForLLMRun)
        callbacks.add_handler(listener, inherit=False)
        config["callbacks"] = callbacks
        chunks: Any = super().astream(input, config, stop=stop, **{**kwargs, RUN: run})
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk
        finally:
            if run.writing is not None:
                await run.writing.aclose()

    def _generate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        model = self._with_cache(run_manager, async_api=False, **kwargs)
        kwargs[RUN] = Run(run_manager)
        found = BaseChatModel._generate_with_cache(model, messages, stop, run_manager, **kwargs)
        return with_errors(found)

    async def _agenerate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        model = self._with_cache(run_manager, async_api=True, **kwargs)
        kwargs[RUN] = Run(run_manager)
        generate = BaseChatModel._agenerate_with_cache
        return with_errors(await generate(model, messages, stop, run_manager, **kwargs))

    def _with_cache(
        self, run_manager: RunManager | None, *, async_api: bool, **kwargs: Any
    ) -> BaseChatModel:
        """Return this model with a cache that keeps what may be kept of one request."""
        as_blocks = self._should_use_protocol_streaming(
            async_api=async_api, run_manager=run_manager, **kwargs
        )
        return with_cache(self, caches=self._may_cache(**kwargs), as_blocks=as_blocks)

    def _may_cache(self, **kwargs: Any) -> bool:
        """Return whether a request may be answered from a cache, and its reply be kept there."""
        return ANSWERED not in kwargs

    def _get_invocation_params(
        self, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        for private in (RUN, ANSWERED):
            kwargs.pop(private, None)
        return super()._get_invocation_params(stop, **kwargs)
