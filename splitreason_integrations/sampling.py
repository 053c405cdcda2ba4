"""How a token is chosen.

The random number of a position depends on seed and position alone: tokens that are cut off and
written again do not change what follows.
"""

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from splitreason_integrations.options import check_options

if TYPE_CHECKING:
    import torch

PENALTIES: dict[str, Any] = {
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "no_repeat_ngram_size": 0,
}
"""Penalties on what is there already, and the value at which each is off."""

_MASK = (1 << 64) - 1
_COLDEST = 1e-6
"""Below it logits divided by the temperature overflow; the most probable token wins anyway."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the tokens of one request are chosen; None takes the model's own default.

    Attributes:
        temperature: Divides the logits; 0 always takes the most probable token.
        top_p: Keeps the most probable tokens whose probabilities add up to this, in (0, 1].
        top_k: Keeps so many of the most probable tokens.
        min_p: Drops tokens below this share of the highest probability, in [0, 1].
        repetition_penalty: Divides the positive logits of tokens that the prompt or the reply has,
            and multiplies the others; 1 is off (arXiv 1909.05858).
        presence_penalty: Is subtracted from the logits of tokens that the reply has; 0 is off.
        frequency_penalty: Is subtracted from a token's logit for each time that the reply has it; 0
            is off.
        no_repeat_ngram_size: Keeps every sequence of so many tokens from coming again, those of the
            prompt included; 0 is off.

    The reply is all of it, whoever wrote it, in the model's own tokens. A server counts as the
    reply what it writes in one request.

    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    no_repeat_ngram_size: int | None = None

    def __post_init__(self) -> None:
        check_options("sampling", self)

    def over(self, default: "Sampling") -> "Sampling":
        """Return these settings, with those that are None taken from `default`."""
        mine = {name: value for name, value in asdict(self).items() if value is not None}
        return replace(default, **mine)

    @property
    def greedy(self) -> bool:
        """Whether the most probable token is always taken."""
        return not self.temperature or self.temperature < _COLDEST

    @property
    def penalties(self) -> dict[str, float]:
        """The penalties on what is there already that are set and not off, by name."""
        values = {name: getattr(self, name) for name in PENALTIES}
        return {
            name: value
            for name, value in values.items()
            if value is not None and value != PENALTIES[name]
        }


def no_such_sampling(model: str, setting: str) -> str:
    """Return the message for a model that cannot be asked for a setting."""
    return (
        f"{model} cannot be asked for {setting}: leave it out, set another penalty, or use models "
        "by transformers, such as 'hf:<folder>'"
    )


def uniform(seed: int, stream: int, position: int) -> float:
    """Return a number in [0, 1) that its three arguments determine.

    SplitMix64 (Steele et al. 2014); `stream` tells uses of one seed apart.
    """
    state = (seed * 0x9E3779B97F4A7C15 + stream * 0xD1B54A32D192ED03 + position) & _MASK
    for _ in range(2):
        state = (state + 0x9E3779B97F4A7C15) & _MASK
        mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        state = mixed ^ (mixed >> 31)
    return (state >> 11) / (1 << 53)


def draw(logits: "torch.Tensor", sampling: Sampling, u: float) -> int:
    """Return the token id that `u` in [0, 1) picks from `logits` of shape (vocabulary,)."""
    if sampling.greedy:
        return int(logits.argmax())
    assert sampling.temperature is not None
    probabilities = (logits.float() / sampling.temperature).softmax(-1)
    if sampling.min_p is not None:
        probabilities = probabilities.where(
            probabilities >= sampling.min_p * probabilities.max(), 0.0
        )
    if sampling.top_k is not None or sampling.top_p is not None:
        probabilities = _most_probable(probabilities, sampling)
    # In the vocabulary's order, so that nearly equal probabilities cannot change places.
    cumulative = probabilities.cumsum(-1)
    index = int((cumulative <= u * cumulative[-1]).sum())
    return min(index, int(probabilities.nonzero()[-1]))


def _most_probable(probabilities: "torch.Tensor", sampling: Sampling) -> "torch.Tensor":
    """Return probabilities with all but the top k, or the top p, set to 0."""
    import torch

    values, ids = probabilities.sort(descending=True)
    if sampling.top_k is not None:
        values[sampling.top_k :] = 0
    if sampling.top_p is not None:
        values[values.cumsum(-1) - values >= sampling.top_p] = 0
    return torch.zeros_like(probabilities).scatter(0, ids, values)
