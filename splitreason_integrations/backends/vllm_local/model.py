"""Models that vLLM runs in child processes of this one, token ids both ways.

vLLM's prefix cache takes the place of a session's KV cache: what was read stays there, whole block
by block, and a cut costs nothing. The resumable input that vLLM has as well keeps the last block,
too, which saves 0.7 ms of a handoff's first token (4.5 ms against 3.8 ms with the embedded large
model on a CPU) and nothing of the whole (298 ms against 299 ms for 12 handoffs); it holds its
memory between handoffs and cannot be cut, so it is not used.
"""

import asyncio
from collections.abc import Sequence

from splitreason_integrations.backends.base import Gives
from splitreason_integrations.backends.loaded import LoadedModel
from splitreason_integrations.backends.lookahead import DraftStats
from splitreason_integrations.backends.refusal import Refusal
from splitreason_integrations.backends.tag_probe import probe, probe_large
from splitreason_integrations.backends.vllm_local.engine import Engine
from splitreason_integrations.backends.vllm_local.params import UNKNOWN_SAMPLING
from splitreason_integrations.backends.vllm_local.session import VLLMSession
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.protocols import Codec
from splitreason_integrations.sampling import Sampling


class LocalVLLM(LoadedModel[VLLMSession]):
    """A model on an engine of vLLM.

    Attributes:
        engine: what runs it.
        vocabulary: how many token ids it can read.
        draft_stats: whether drafts were useful lately.
        no_grammars: whether the engine refused to hold an answer to a grammar.

    """

    gives = Gives.ALL
    unknown_sampling = UNKNOWN_SAMPLING

    def __init__(
        self,
        engine: Engine,
        codec: Codec,
        *,
        name: str,
        vocabulary: int,
        context_tokens: int,
        prices: Prices | None = None,
        hint: str | None = None,
        taught: bool | None = None,
        default_sampling: Sampling | None = None,
    ) -> None:
        super().__init__(
            codec,
            name=name,
            context_tokens=context_tokens,
            prices=prices,
            hint=hint,
            taught=taught,
            default_sampling=default_sampling,
        )
        self.vocabulary = vocabulary
        self.engine = engine
        self.draft_stats = DraftStats()
        self.no_grammars = Refusal()

    def open(self, prompt: Sequence[int], written: Sequence[int] = ()) -> VLLMSession:
        """Start a session with a prompt and what is `written` behind it; nothing is asked yet."""
        self._check_not_closed()
        return self._counted(VLLMSession(self, prompt, written))

    def check_process(self) -> None:
        """Raise ForkedProcessError in a process that was forked from the engine's."""
        self.engine.check_process()

    async def reload(self) -> None:
        """Read the model's files anew, which hold a model of the same shape; no request may run.

        In place on a GPU; on a CPU the engine is started again. Raises ModelCallError.
        """
        await asyncio.wrap_future(self.engine.do(self.engine.reload()))
        for known in (probe, probe_large):
            known.forget(self)

    def close(self) -> None:
        """End the engine's processes, which frees their memory."""
        super().close()
        self.engine.shut_down()
