"""The reference model: how surprising a rollout is to the model that training started from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from splitreason_integrations.training.annotate import token_logs
from splitreason_integrations.training.offloading.rollouts import Rollout

_WINDOW_TOKENS = 512
"""Most positions of a row whose logits are in memory at a time."""


class Reference:
    """A frozen model that scores rollouts, `batch` at a time."""

    def __init__(self, network: Any, *, batch: int = 16) -> None:
        self._network = network.eval()
        self._batch = batch

    def to(self, device: Any) -> None:
        """Move the model to a device."""
        self._network.to(device)

    def surprise(self, found: Sequence[Rollout]) -> list[float]:
        """Return for each rollout the mean of −log P over the small model's own tokens, in nats."""
        import torch

        surprises: list[float] = []
        for at in range(0, len(found), self._batch):
            group = found[at : at + self._batch]
            rows = [one.prompt_ids + one.token_ids for one in group]
            with torch.inference_mode():
                logs = token_logs(self._network, rows, None, _WINDOW_TOKENS)
            for row, one in enumerate(group):
                start = len(one.prompt_ids) - 1
                own = torch.tensor(one.own, dtype=torch.bool)
                mine = -logs[row, start : start + len(own)][own]
                surprises.append(float(mine.mean()) if len(mine) else 0.0)
        return surprises
