"""Batches of documents of similar length, right-padded; deterministic in documents and seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from splitreason_integrations.training.documents import Document

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """One batch.

    Attributes:
        ids: Token ids, shape (documents, tokens).
        weights: Loss weight of each token as a target, shape (documents, tokens).

    """

    ids: Tensor
    weights: Tensor

    @property
    def tokens(self) -> int:
        """Number of tokens, padding included."""
        return int(self.ids.numel())


def make_batches(documents: list[Document], *, tokens: int, pad: int, seed: int) -> list[Batch]:
    """Sort documents by length, cut batches of at most `tokens`, and shuffle the batches."""
    batches: list[Batch] = []
    group: list[Document] = []
    for document in sorted(documents, key=len):
        if group and len(document) * (len(group) + 1) > tokens:
            batches.append(stack(group, pad=pad))
            group = []
        group.append(document)
    if group:
        batches.append(stack(group, pad=pad))
    random.Random(seed).shuffle(batches)
    return batches


def stack(documents: list[Document], *, pad: int) -> Batch:
    """Pad documents to a common length."""
    import torch

    width = max(len(document) for document in documents)
    ids = torch.full((len(documents), width), pad, dtype=torch.long)
    weights = torch.zeros((len(documents), width))
    for row, document in enumerate(documents):
        ids[row, : len(document)] = torch.tensor(document.ids)
        weights[row, : len(document)] = torch.tensor(document.weights)
    return Batch(ids, weights)
