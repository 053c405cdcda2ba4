"""The training loop: warm-up, stable, decay; checkpoints between chunks resume exactly.

Data is a function of the chunk number, so a resumed run sees the same data as an unbroken one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitreason_integrations.training.batches import Batch, make_batches
from splitreason_integrations.training.documents import Document

if TYPE_CHECKING:
    from torch import Tensor

Chunks = Callable[[int], list[Document]]
Report = Callable[[int, float], None]


@dataclass(frozen=True)
class Plan:
    """Length and learning rates of a training.

    Attributes:
        chunks: Number of data chunks.
        batch_tokens: Tokens per batch, padding included.
        matrix_rate: Peak learning rate of Muon, for matrices.
        other_rate: Peak learning rate of AdamW, for embeddings, norms and biases.
        warmup: Chunks with a rising rate.
        decay: Fraction of the run with a falling rate, at its end.
        restart: Chunk at which the rate, fallen to zero, rises once more; None for never.
        restart_rate: Height of the second rise, as a factor on the peak rates.
        save_every: Chunks between two checkpoints.

    """

    chunks: int
    batch_tokens: int = 2048
    matrix_rate: float = 5e-3
    other_rate: float = 4e-3
    warmup: int = 4
    decay: float = 0.6
    restart: int | None = None
    restart_rate: float = 0.6
    save_every: int = 20

    def rate(self, chunk: float) -> float:
        """Return the factor on the peak rates at a point of the run, counted in chunks."""
        start, end = self.round_of(chunk)
        peak, decay = (self.restart_rate, 1.0) if start else (1.0, self.decay)
        rising = (chunk - start + 0.05) / self.warmup if self.warmup else 1.0
        falling = (end - chunk) / (end - start) / decay
        return peak * max(0.0, min(1.0, rising, falling))

    def round_of(self, chunk: float) -> tuple[int, int]:
        """Return the first chunk and the end of the round that a point of the run is in."""
        if self.restart is None:
            return 0, self.chunks
        return (0, self.restart) if chunk < self.restart else (self.restart, self.chunks)


def weighted_loss(model: Any, batch: Batch) -> Tensor:
    """Return the weighted mean cross-entropy of the targets with a weight above 0."""
    from torch.nn import functional

    hidden = model.model(input_ids=batch.ids[:, :-1]).last_hidden_state
    weights = batch.weights[:, 1:]
    chosen = weights > 0
    logits = model.lm_head(hidden[chosen]).float()
    losses = functional.cross_entropy(logits, batch.ids[:, 1:][chosen], reduction="none")
    kept = weights[chosen]
    return (losses * kept).sum() / kept.sum().clamp(min=1.0)


def make_optimizers(model: Any, plan: Plan) -> list[Any]:
    """Return Muon for the layers' matrices, and AdamW for all other parameters."""
    import torch

    from splitreason_integrations.training.muon import Muon

    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    taken = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in taken]
    muon = Muon(matrices, lr=plan.matrix_rate, weight_decay=0.01)
    adam = torch.optim.AdamW(others, lr=plan.other_rate, betas=(0.9, 0.98), weight_decay=0.0)
    return [muon, adam]


def train(
    model: Any, chunks: Chunks, plan: Plan, *, folder: Path, pad: int, device: str, report: Report
) -> None:
    """Train in place, from the checkpoint in `folder` if there is one.

    Args:
        model: A causal language model.
        chunks: Returns the documents of a chunk by its number.
        plan: Length and learning rates.
        folder: Folder of the checkpoints.
        pad: Id of the padding token.
        device: A torch device.
        report: Called after every chunk with (chunks done, mean loss).

    """
    import torch

    model.to(device).train()
    optimizers = make_optimizers(model, plan)
    peaks = [[group["lr"] for group in o.param_groups] for o in optimizers]
    start = load_checkpoint(folder, model, optimizers)
    for index in range(start, plan.chunks):
        torch.manual_seed(index)
        batches = make_batches(chunks(index), tokens=plan.batch_tokens, pad=pad, seed=index)
        total = 0.0
        for number, batch in enumerate(batches):
            factor = plan.rate(index + number / len(batches))
            for optimizer, rates in zip(optimizers, peaks, strict=True):
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * factor
            total += _step(model, batch, optimizers, device)
        report(index + 1, total / max(1, len(batches)))
        if (index + 1) % plan.save_every == 0 or index + 1 == plan.chunks:
            save_checkpoint(folder, model, optimizers, index + 1)
    model.eval()


def _step(model: Any, batch: Batch, optimizers: list[Any], device: str) -> float:
    import torch

    moved = Batch(batch.ids.to(device), batch.weights.to(device))
    kind = device.split(":")[0]
    with torch.autocast(kind, dtype=torch.bfloat16, enabled=kind != "cpu"):
        loss = weighted_loss(model, moved)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())


def save_checkpoint(folder: Path, model: Any, optimizers: list[Any], done: int) -> None:
    """Write the state of a run atomically."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    state = {
        "done": done,
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
    }
    torch.save(state, folder / "state.tmp")
    os.replace(folder / "state.tmp", folder / "state.pt")


def load_checkpoint(folder: Path, model: Any, optimizers: list[Any]) -> int:
    """Restore the state of a run; return the number of chunks done, 0 without a checkpoint."""
    import torch

    path = folder / "state.pt"
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return int(state["done"])
