"""Root-mean-square norms in one kernel, where transformers spells them out in eight."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

_CLOSE = 0.02
"""By how much, relative to the whole, a norm may differ: rounding to bfloat16 alone gives 0.003."""


def spelled_out(network: torch.nn.Module) -> list[torch.nn.Module]:
    """Return a network's modules that compute an RMS norm (arXiv 1910.07467) and nothing else.

    A module is tried on random states, since the same attributes can mean another norm, such as one
    with weights around 0.
    """
    return [one for one in network.modules() if _is_spelled_out(one)]


@contextmanager
def in_one_kernel(norms: list[torch.nn.Module]) -> Iterator[None]:
    """Have norms computed by PyTorch's own."""
    for norm in norms:
        norm.forward = partial(_norm, norm)
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _norm(module: Any, states: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.rms_norm(
        states, module.weight.shape, module.weight, module.variance_epsilon
    )


def _is_spelled_out(module: torch.nn.Module) -> bool:
    weight, epsilon = (getattr(module, name, None) for name in ("weight", "variance_epsilon"))
    if not (isinstance(weight, torch.Tensor) and weight.ndim == 1 and isinstance(epsilon, float)):
        return False
    replaced = "forward" in vars(module)
    if replaced or [name for name, _ in module.named_parameters()] != ["weight"]:
        return False
    states = torch.linspace(-2, 3, weight.numel(), device=weight.device, dtype=weight.dtype)
    with torch.inference_mode():
        expected, found = (norm(states[None]).float() for norm in (module, partial(_norm, module)))
    return bool((found - expected).norm() <= _CLOSE * expected.norm())
