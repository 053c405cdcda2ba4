"""TRL's rollout function: answers prompts through the engine with the model in training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from splitreason_integrations import blocking
from splitreason_integrations.backends.base import Model
from splitreason_integrations.backends.codec import TokenizerCodec
from splitreason_integrations.backends.defaults import end_tokens
from splitreason_integrations.backends.hf.model import HFModel
from splitreason_integrations.backends.registry import load_model
from splitreason_integrations.backends.vllm_local.spec import VLLMModel
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.request import Request
from splitreason_integrations.sampling import PENALTIES, Sampling, uniform
from splitreason_integrations.training.offloading.recipe import GRPORecipe
from splitreason_integrations.training.offloading.reference import Reference
from splitreason_integrations.training.offloading.rollouts import (
    Rollout,
    for_trainer,
    rollouts,
)

_SEED_STREAM = 0x4752


class Small(Protocol):
    """Makes the rollouts' small model from a network in training."""

    async def __call__(self, network: Any) -> Model:
        """Return a model with the network's current weights."""
        ...


class Shared:
    """The weights in training themselves, run by transformers."""

    def __init__(self, tokenizer: Any, name: str) -> None:
        self._tokenizer = tokenizer
        self._name = name
        self._model: HFModel | None = None

    async def __call__(self, network: Any) -> Model:
        """Return the model; a new one only for another network."""
        if self._model is None or self._model.network is not network:
            ends = end_tokens(network.generation_config)
            codec = TokenizerCodec(self._tokenizer, name=self._name, end_tokens=ends)
            self._model = HFModel(network, codec, name=self._name)
        return self._model


class Copied:
    """A copy of the weights in a folder, which vLLM reloads for each batch of rollouts."""

    def __init__(self, tokenizer: Any, folder: Path) -> None:
        self._tokenizer = tokenizer
        self._folder = folder
        self._model: Any = None

    async def __call__(self, network: Any) -> Model:
        """Return the model with the current weights."""
        _save_merged(network, self._folder)
        if self._model is None:
            self._tokenizer.save_pretrained(self._folder)
            self._model = await load_model(VLLMModel(str(self._folder)), role="small")
        else:
            await self._model.reload()
        model: Model = self._model
        return model


def _save_merged(network: Any, folder: Path) -> None:
    """Write the weights as one checkpoint, with adapters merged temporarily."""
    if not hasattr(network, "merge_adapter"):
        network.save_pretrained(folder)
        return
    network.merge_adapter()
    try:
        whole = network.get_base_model()
        state = {
            name.replace(".base_layer", ""): tensor
            for name, tensor in whole.state_dict().items()
            if "lora_" not in name
        }
        whole.save_pretrained(folder, state_dict=state)
    finally:
        network.unmerge_adapter()


class RolloutWriter:
    """TRL's `rollout_func`: one rollout per prompt."""

    def __init__(
        self, recipe: GRPORecipe, engine: SplitEngine, small: Small, reference: Reference
    ) -> None:
        self._recipe = recipe
        self._engine = engine
        self._small = small
        self._reference = reference

    def __call__(self, prompts: Sequence[Any], trainer: Any) -> dict[str, Any]:
        """Return one rollout per prompt, in the format of GRPOTrainer."""
        from trl.models.utils import unwrap_model_for_generation

        first = trainer.accelerator.process_index * len(prompts)
        requests = [
            self.request(messages, step=trainer.state.global_step, row=first + row)
            for row, messages in enumerate(prompts)
        ]
        with unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator) as network:
            trains = network.training
            network.eval()
            try:
                found = blocking.run(lambda: self._written(network, requests))
            finally:
                network.train(trains)
        return {**for_trainer(found), "surprise": self._reference.surprise(found)}

    def request(self, messages: Sequence[Any], *, step: int, row: int) -> Request:
        """Return the request of one row of a step; a resumed run makes the same request."""
        writing = self._recipe.writing
        share = uniform(self._recipe.seed, _SEED_STREAM, step << 20 | row)
        return Request(
            # The dataset fills keys that a message lacks with None.
            messages=[{k: v for k, v in one.items() if v is not None} for one in messages],
            sampling=Sampling(temperature=writing.temperature, top_p=1.0, **PENALTIES),
            max_tokens=writing.max_tokens,
            seed=int(share * (1 << 32)),
        )

    async def _written(self, network: Any, requests: Sequence[Request]) -> list[Rollout]:
        small, at_once = await self._small(network), self._recipe.writing.at_once
        return await rollouts(self._engine, small, requests, at_once=at_once)
