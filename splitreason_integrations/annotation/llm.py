"""Annotate hard spans with a strong model: any LangChain chat model."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from splitreason_integrations.annotation.annotators import Found, Usage
from splitreason_integrations.annotation.asking import prompt_for, read_reply, schema
from splitreason_integrations.annotation.placement import Quote
from splitreason_integrations.annotation.rows import Row
from splitreason_integrations.checks import check_number, check_positive
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.errors import (
    ConfigurationError,
    MissingExtraError,
    ModelCallError,
)

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

_MISSING = 'an annotator model needs LangChain: pip install "splitreason-integrations[train]"'
_FAILURES = 5
"""After this many failed rows, an easy request checks whether the model works at all."""
_EASY = Row(0, {}, "2 + 3 = 5.", ({"role": "user", "content": "What is 2 + 3?"},))
_BATCHES_AT_ONCE = 8
_NOTHING_USD = 1e-9


@dataclass(frozen=True, slots=True)
class Asking:
    """How the model is called.

    Attributes:
        prices: Prices of the model.
        max_usd: No call starts once this much is spent.
        concurrency: Calls in progress at a time.
        requests_per_s: Largest number of calls started per second.
        attempts: Attempts per call, the first included.
        structured: Use the model's own structured output.
        share: Approximate fraction of a text that the model is asked to choose.

    Raises:
        ConfigurationError: `max_usd` is given without prices.

    """

    prices: Prices = field(default_factory=Prices)
    max_usd: float | None = None
    concurrency: int = 8
    requests_per_s: float | None = None
    attempts: int = 4
    structured: bool = False
    share: float = 0.1

    def __post_init__(self) -> None:
        check_number("concurrency", self.concurrency, least=1, most=1024, whole=True)
        check_number("attempts", self.attempts, least=1, most=100, whole=True)
        check_number("share", self.share, most=1)
        if self.requests_per_s is not None:
            check_positive("requests_per_s", self.requests_per_s)
        if self.max_usd is not None:
            check_number("max_usd", self.max_usd)
            if self.prices == Prices():
                raise ConfigurationError(
                    "max_usd needs prices: give the model's prices in USD per million tokens"
                )


class NotCalled(Exception):  # noqa: N818
    """A call was not made, because the budget is spent or an earlier call stopped the run."""


class LLMAnnotator:
    """Ask a chat model for the hard passages of each trace."""

    journals = True
    scores = False

    def __init__(
        self, model: "BaseChatModel", *, name: str | None = None, asking: Asking | None = None
    ) -> None:
        """Take a LangChain chat model.

        Args:
            model: The chat model.
            name: Name written to each row; by default the model's class name.
            asking: How the model is called.

        Raises:
            MissingExtraError: LangChain is not installed.

        """
        try:
            from langchain_core.rate_limiters import InMemoryRateLimiter
        except ImportError as error:
            raise MissingExtraError(_MISSING) from error
        self._asking = asking or Asking()
        self.name = f"llm:{name or type(model).__name__}"
        self.batch_rows = self._asking.concurrency * _BATCHES_AT_ONCE
        self.stopped: str | None = None
        rate = self._asking.requests_per_s
        self._limiter = rate and InMemoryRateLimiter(
            requests_per_second=rate, check_every_n_seconds=min(0.1, 0.5 / rate)
        )
        self._calls = self._retried(model)
        self._spent_usd = 0.0

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings that affect the findings."""
        return {"structured": self._asking.structured, "share": self._asking.share}

    def _retried(self, model: "BaseChatModel") -> Any:
        """Return a runnable from row to reply; LangChain retries it with tenacity."""
        from langchain_core.runnables import RunnableLambda

        asked: Any = model
        if self._asking.structured:
            asked = model.with_structured_output(schema(), include_raw=True)

        async def call(row: Row) -> Any:
            if self._limiter:
                await self._limiter.aacquire()
            return await asked.ainvoke(prompt_for(row, self._asking.share))

        return RunnableLambda(call).with_retry(stop_after_attempt=self._asking.attempts)

    async def _ask(self, row: Row) -> Found:
        most = self._asking.max_usd
        if most is not None and self._spent_usd > most - _NOTHING_USD:
            self.stopped = "max_usd"
        if self.stopped:
            raise NotCalled
        found = self._found(await self._calls.ainvoke(row))
        self._spent_usd += found.usage.usd
        return found

    async def find(
        self, rows: Sequence[Row], *, spent_usd: float
    ) -> AsyncGenerator[tuple[int, Found], None]:
        """Yield the snippets that the model quotes, as replies arrive.

        Raises:
            ModelCallError: The model fails, and not just on some rows.

        """
        self._spent_usd = spent_usd
        failed: dict[int, Exception] = {}
        async with aclosing(self._outcomes(rows)) as outcomes:
            async for at, found in outcomes:
                if isinstance(found, Found):
                    yield at, found
                elif not isinstance(found, NotCalled):
                    failed[at] = found
                    if len(failed) % _FAILURES == 0:
                        await self._check_works(found)
        if failed:
            await self._check_works(failed[max(failed)])
        # A stopped run leaves its failed rows to the next run.
        for at, error in failed.items() if self.stopped is None else ():
            yield at, Found(failure=f"the model failed: {type(error).__name__}")

    async def _outcomes(
        self, rows: Sequence[Row]
    ) -> AsyncGenerator[tuple[int, Found | Exception], None]:
        """Yield the findings or error of each row as they arrive; rows start in order."""
        # abatch cannot both start rows in order and return replies as they arrive.
        waiting = iter(enumerate(rows))
        outcomes: asyncio.Queue[tuple[int, Found | Exception]] = asyncio.Queue()

        async def work() -> None:
            for at, row in waiting:
                try:
                    outcomes.put_nowait((at, await self._ask(row)))
                except Exception as error:  # noqa: BLE001 - whatever a provider raises
                    outcomes.put_nowait((at, error))

        workers = [asyncio.create_task(work()) for _ in range(self._asking.concurrency)]
        try:
            for _ in rows:
                yield await outcomes.get()
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _check_works(self, error: Exception) -> None:
        """Raise ModelCallError if, after a failed row, the model also fails an easy request."""
        try:
            if isinstance(error, ConfigurationError):
                raise error
            await self._ask(_EASY)
        except NotCalled:
            return
        except ConfigurationError:
            raise
        except Exception as still:  # noqa: BLE001 - whatever a provider raises
            reason = " ".join(str(still).split())[:300]
            raise ModelCallError(
                f"{self.name} fails: {type(still).__name__}: {reason}; once it works again, run "
                "the same command to resume",
                retryable=False,
            ) from error

    def _found(self, reply: Any) -> Found:
        raw, parsed = (reply["raw"], reply["parsed"]) if isinstance(reply, dict) else (reply, None)
        usage = self._usage(raw)
        quotes: tuple[Quote, ...] | None = None
        if parsed is not None:
            quotes = read_reply(parsed)
        elif not isinstance(reply, dict):
            quotes = read_reply(str(raw.text))
        if quotes is None:
            return Found(usage=usage, failure="the model's reply is not JSON with snippets")
        return Found(quotes=quotes, usage=usage)

    def _usage(self, message: Any) -> Usage:
        used = getattr(message, "usage_metadata", None)
        if not used:
            if self._asking.max_usd is not None:
                raise ConfigurationError(
                    f"{self.name} does not report how many tokens it used, so max_usd cannot be "
                    "enforced: leave max_usd out"
                )
            return Usage()
        read, written = int(used["input_tokens"]), int(used["output_tokens"])
        usd = self._asking.prices.cost_usd(input_tokens=read, output_tokens=written)
        return Usage(read, written, usd)


def load_chat_model(name: str, **options: Any) -> "BaseChatModel":
    """Return the chat model that `provider:name` names, such as "openai:gpt-…".

    Raises:
        MissingExtraError: A package is missing.
        ConfigurationError: The model or an option is not known.

    """
    try:
        from langchain.chat_models import init_chat_model
    except ImportError as error:
        raise MissingExtraError(_MISSING) from error
    try:
        # Only tenacity retries, see `_retried`.
        model: BaseChatModel = init_chat_model(name, max_retries=0, **options)
    except ImportError as error:
        raise MissingExtraError(f"{name}: {' '.join(str(error).split())}") from error
    except Exception as error:  # each provider's package has errors of its own
        reason = " ".join(str(error).split())[:300]
        raise ConfigurationError(
            f"{name}: {reason}; name a model as provider:name, and set the provider's variable "
            "for its key"
        ) from error
    return model
