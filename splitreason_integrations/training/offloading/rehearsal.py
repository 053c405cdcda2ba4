"""Rehearsal: train on tagged traces along with the rollouts, against forgetting.

Nothing in a rollout teaches where a span ends: the large model's tokens and the close tag are not
in the loss, but training changes the weights behind them. Without rehearsal P(`</bigmodel>`)
drifts, and a small model that reads along ends its spans too early.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from splitreason_integrations.backends.codec import TokenizerCodec
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.text.tags import tags_of
from splitreason_integrations.training.offloading.examples import (
    IGNORED,
    Example,
    ExampleWriter,
    read_tagged,
)
from splitreason_integrations.training.offloading.recipe import GRPORecipe, Rehearsal


class Rehearser:
    """Traces of a recipe, some of which are read with each batch of rollouts.

    Args:
        recipe: Settings of the rehearsal.
        examples: The traces; tokens to rehearse have labels.
        seed: Seed of the run.
        closing: The token that ends a span, if only ends are rehearsed.

    """

    def __init__(
        self,
        recipe: Rehearsal,
        examples: Sequence[Example],
        *,
        seed: int,
        closing: int | None = None,
    ) -> None:
        self.weight = recipe.weight
        self._batch = min(recipe.batch, len(examples))
        self._examples = examples
        self._seed = seed
        self._closing = closing

    def loss(self, network: Any, *, step: int, device: Any) -> Any:
        """Return the mean of −log P over the rehearsed tokens of a step's traces, in nats.

        The choice of traces depends only on the seed and the step.
        """
        some = random.Random(f"rehearsal/{self._seed}/{step}").sample(self._examples, self._batch)
        labels = _padded([one.labels for one in some], IGNORED).to(device)
        rows = {
            "input_ids": _padded([one.input_ids for one in some], 0).to(device),
            "attention_mask": _padded([[1] * len(one.labels) for one in some], 0).to(device),
        }
        if self._closing is None:
            return network(**rows, labels=labels).loss
        return ends_loss(network(**rows).logits, labels, closing=self._closing)


def ends_loss(logits: Any, labels: Any, *, closing: int) -> Any:
    """Return the mean of −log P of continuing, or of ending, over the positions inside spans.

    Args:
        logits: Shape (traces, tokens, vocabulary).
        labels: Shape (traces, tokens); ignored outside spans.
        closing: The token that ends a span.

    """
    import torch

    inside, ends = (found[:, 1:] for found in (labels != IGNORED, labels == closing))
    chances = logits[:, :-1].float().log_softmax(-1)[..., closing].clamp(max=-1e-6)
    logs = torch.where(ends, chances, torch.log1p(-chances.exp()))
    return -logs[inside].mean()


def rehearser_of(recipe: GRPORecipe, tokenizer: Any) -> Rehearser | None:
    """Read the traces of a run's rehearsal; None if it has none.

    Raises:
        ConfigurationError: The traces cannot be read, or contain nothing to rehearse.

    """
    rehearsal = recipe.rehearsal
    if rehearsal is None:
        return None
    closing = _closing_token(tokenizer, recipe.model) if rehearsal.tokens == "ends" else None
    writer = ExampleWriter(
        tokenizer,
        name=recipe.model,
        span_weight=1.0,
        seed=recipe.seed,
        spans_only=rehearsal.tokens != "all",
    )
    written = [
        writer.write(number, trace)
        for number, trace in enumerate(read_tagged(Path(rehearsal.traces)), 1)
    ]
    found = [
        one
        for one in written
        if len(one.input_ids) <= rehearsal.max_tokens and any(x != IGNORED for x in one.labels)
    ]
    if not found:
        raise ConfigurationError(
            f"rehearsal.traces: of the {len(written)} traces of {rehearsal.traces} none with a "
            f"span has {rehearsal.max_tokens} tokens or less; raise max_tokens, or give tagged "
            "traces, such as those of the fine-tuning"
        )
    return Rehearser(rehearsal, found, seed=recipe.seed, closing=closing)


def _closing_token(tokenizer: Any, name: str) -> int:
    tags = tags_of(TokenizerCodec(tokenizer, name=name), as_text=True)
    if len(tags.close_tokens) > 1:
        raise ConfigurationError(
            f"rehearsal.tokens: {name} has plain-text tags, whose close tag is several tokens; "
            'use "spans"'
        )
    return tags.close_tokens[0]


def rehearsing(kind: type, rehearser: Rehearser) -> type:
    """Return a subclass of TRL's trainer that adds the weighted rehearsal loss to its own."""

    class RehearsingTrainer(kind):  # type: ignore[misc]  # TRL is untyped
        def compute_loss(self, model: Any, *args: Any, **settings: Any) -> Any:
            loss = super().compute_loss(model, *args, **settings)
            # TRL has divided its own loss by the number of batches per step.
            batches = self.current_gradient_accumulation_steps
            step = self.state.global_step * self.accelerator.num_processes
            rehearsal_loss = rehearser.loss(
                model, step=step + self.accelerator.process_index, device=loss.device
            )
            self._metrics["train"]["rehearsal"].append(float(rehearsal_loss.detach()))
            return loss + rehearser.weight * rehearsal_loss / batches

    return RehearsingTrainer


def _padded(rows: Sequence[Sequence[int]], filler: int) -> Any:
    import torch
    from torch.nn.utils.rnn import pad_sequence

    tensors = [torch.tensor(row) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_value=filler)
