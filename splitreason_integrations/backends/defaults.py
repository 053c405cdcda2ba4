"""Sampling and end tokens from a model's own generation settings."""

import logging
from collections.abc import Collection
from dataclasses import replace

from transformers import GenerationConfig

from splitreason_integrations.sampling import PENALTIES, Sampling

_NOT_HONOURED = (
    "bad_words_ids",
    "begin_suppress_tokens",
    "epsilon_cutoff",
    "eta_cutoff",
    "exponential_decay_length_penalty",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "guidance_scale",
    "min_new_tokens",
    "sequence_bias",
    "suppress_tokens",
    "top_h",
    "typical_p",
)
_OFF: tuple[object, ...] = (None, 0, 1, [])
_log = logging.getLogger(__name__)


def default_sampling(
    settings: GenerationConfig, *, name: str, without: Collection[str] = ()
) -> Sampling:
    """Return the sampling that a model's settings recommend; greedy if they do not sample.

    Args:
        settings: of the model.
        name: the model's name.
        without: penalties that the backend does not know. A warning says what is left out.

    """
    given = {name: getattr(settings, name, None) for name in PENALTIES}
    penalties = {name: value for name, value in given.items() if name not in without}
    left_out = sorted({*Sampling(**given).penalties} - {*penalties})
    left_out += [one for one in _NOT_HONOURED if getattr(settings, one, None) not in _OFF]
    if left_out:
        _log.warning(
            "%s: its generation_config sets %s, which has no effect here", name, ", ".join(left_out)
        )
    sampling = Sampling(temperature=0.0)
    if settings.do_sample:
        sampling = Sampling(settings.temperature, settings.top_p, settings.top_k, settings.min_p)
    return replace(sampling, **penalties)


def end_tokens(settings: GenerationConfig) -> tuple[int, ...]:
    """Return the ids that end a turn."""
    ids = settings.eos_token_id
    if ids is None:
        return ()
    return (ids,) if isinstance(ids, int) else tuple(ids)
