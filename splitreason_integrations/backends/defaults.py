"""Sampling and end tokens from a model's own generation settings."""

from transformers import GenerationConfig

from splitreason_integrations.sampling import Sampling


def default_sampling(settings: GenerationConfig) -> Sampling:
    """Return the sampling that the settings recommend; greedy if they do not sample."""
    if not settings.do_sample:
        return Sampling(temperature=0.0)
    return Sampling(settings.temperature, settings.top_p, settings.top_k, settings.min_p)


def end_tokens(settings: GenerationConfig) -> tuple[int, ...]:
    """Return the ids that end a turn."""
    ids = settings.eos_token_id
    if ids is None:
        return ()
    return (ids,) if isinstance(ids, int) else tuple(ids)
