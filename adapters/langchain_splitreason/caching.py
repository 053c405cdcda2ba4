"""What LangChain's cache may keep: whole replies alone, and copies of them."""

from copy import deepcopy
from typing import Any, TypeVar

from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.globals import get_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration

_M = TypeVar("_M", bound=BaseChatModel)

_WHOLE = frozenset({"stop", "stop_string"})
"""Why a reply ended that is whole."""


class WholeReplies(BaseCache):
    """A cache that refuses replies which another attempt may write better.

    What is kept and what is found are copies: agents write their names into messages.

    Args:
        cache: keeps them.
        form: in what form messages are written, behind the key.

    """

    def __init__(self, cache: BaseCache, form: str) -> None:
        self._cache = cache
        self._form = form

    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """Return the reply of an equal request; None where there is none."""
        return deepcopy(self._cache.lookup(prompt, llm_string + self._form))

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Keep a reply, if it is whole."""
        if all(map(is_whole, return_val)):
            self._cache.update(prompt, llm_string + self._form, deepcopy(return_val))

    def clear(self, **kwargs: Any) -> None:
        """Empty the cache."""
        self._cache.clear(**kwargs)

    async def alookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """Return the reply of an equal request; None where there is none."""
        return deepcopy(await self._cache.alookup(prompt, llm_string + self._form))

    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Keep a reply, if it is whole."""
        if all(map(is_whole, return_val)):
            await self._cache.aupdate(prompt, llm_string + self._form, deepcopy(return_val))

    async def aclear(self, **kwargs: Any) -> None:
        """Empty the cache."""
        await self._cache.aclear(**kwargs)


def is_whole(generation: Any) -> bool:
    """Return whether a reply ended by itself, with both models at work and no invalid call."""
    message = generation.message if isinstance(generation, ChatGeneration) else None
    if not isinstance(message, AIMessage) or message.invalid_tool_calls:
        return False
    facts = message.response_metadata.get("splitreason", {})
    return facts.get("stop_reason") in _WHOLE and facts.get("degraded") is False


def with_cache(model: _M, *, caches: bool, as_blocks: bool) -> _M:
    """Return a model whose cache keeps whole replies alone, or that has none.

    Args:
        model: with a cache of its own, LangChain's global one, or none.
        caches: whether the request may be answered from a cache, and its reply be kept.
        as_blocks: whether LangChain makes the reply of events, its content a list of blocks.

    """
    cache = model.cache if isinstance(model.cache, BaseCache) else get_llm_cache()
    if model.cache is False or cache is None:
        return model
    form = " blocks" if as_blocks else ""
    return model.model_copy(update={"cache": WholeReplies(cache, form) if caches else False})
