"""Muon for small matrices: Newton-Schulz in the parameters' precision, equal shapes batched.

`torch.optim.Muon` always orthogonalises in bfloat16, which CPUs without bfloat16 units emulate;
that took three quarters of a training step of these models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from torch.optim import Optimizer

if TYPE_CHECKING:
    from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
RMS_OF_ADAMW = 0.2


class Muon(Optimizer):
    """Momentum with orthogonalised updates; for 2D parameters only.

    Steps are scaled to the size of AdamW's, so that learning rates can be reused. Source: Jordan et
    al. 2024, "Muon"; scaling by Liu et al. 2025 (arXiv 2502.16982).

    Args:
        parameters: Matrices.
        lr: Learning rate.
        momentum: Momentum of the running mean of gradients (Nesterov).
        weight_decay: Decoupled weight decay.

    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        settings = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(parameters, settings)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every matrix that has a gradient."""
        import torch

        loss = closure() if closure else None
        with torch.no_grad():
            for group in self.param_groups:
                by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
                for matrix in group["params"]:
                    if matrix.grad is not None:
                        by_shape.setdefault(matrix.shape, []).append((matrix, matrix.grad))
                for pairs in by_shape.values():
                    self._update(pairs, group)
        return loss

    def _update(self, pairs: list[tuple[Tensor, Tensor]], group: dict[str, Any]) -> None:
        """Update matrices of one shape, given with their gradients."""
        import torch

        directions = []
        for matrix, gradient in pairs:
            state = self.state[matrix]
            if not state:
                state["momentum"] = torch.zeros_like(matrix)
            mean = state["momentum"].lerp_(gradient, 1 - group["momentum"])
            directions.append(torch.lerp(gradient, mean, group["momentum"]))
        updates = orthogonalise(torch.stack(directions))
        scale = RMS_OF_ADAMW * max(pairs[0][0].shape) ** 0.5
        for (matrix, _), update in zip(pairs, updates, strict=True):
            matrix.mul_(1 - group["lr"] * group["weight_decay"])
            matrix.add_(update, alpha=-group["lr"] * scale)


def orthogonalise(matrices: Tensor) -> Tensor:
    """Return nearly orthogonal matrices with the singular vectors of those given.

    Input and output have shape (count, rows, columns); singular values of the output lie between
    about 0.7 and 1.2.
    """
    import torch

    a, b, c = COEFFICIENTS
    wide = matrices.shape[-2] <= matrices.shape[-1]
    x = matrices if wide else matrices.mT
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide else x.mT
