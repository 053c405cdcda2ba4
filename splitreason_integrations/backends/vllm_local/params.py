"""Orders as vLLM's `SamplingParams`, and its answers as tokens and probabilities."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from splitreason_integrations.backends.base import End, WriteOrder, Written
from splitreason_integrations.backends.scores import (
    LIKELIEST,
    Asked,
    Scores,
    asked_by,
)
from splitreason_integrations.errors import ModelCallError, RequestError
from splitreason_integrations.sampling import Sampling, uniform

UNKNOWN_SAMPLING = frozenset({"no_repeat_ngram_size"})
"""Settings of a `Sampling` that `SamplingParams` do not have."""

_NEVER = -100.0


def writing(order: WriteOrder, *, max_tokens: int, position: int) -> Any:
    """Return the `SamplingParams` for an order whose first token stands at `position` of the reply.

    The seed goes by position, as far as vLLM lets it: it draws the tokens of one request from one
    seed, so with a temperature the text depends on how orders are cut, greedy text does not.
    Raises RequestError for a sampling that vLLM does not know.
    """
    from vllm import SamplingParams
    from vllm.exceptions import VLLMClientError
    from vllm.sampling_params import RequestOutputKind

    sampling = order.sampling
    try:
        return SamplingParams(
            max_tokens=max_tokens,
            temperature=0.0 if sampling.greedy else sampling.temperature or 0.0,
            top_p=1.0 if sampling.top_p is None else sampling.top_p,
            top_k=sampling.top_k or 0,
            min_p=sampling.min_p or 0.0,
            **_penalties(sampling),
            seed=int(uniform(order.seed, order.stream, position) * (1 << 53)),
            stop_token_ids=sorted(order.stop_tokens),
            ignore_eos=True,
            logit_bias=dict.fromkeys(order.forbidden, _NEVER) or None,
            allowed_token_ids=list(order.only) or None,
            structured_outputs=_held_to(order.grammar),
            **_scores(asked_by(order.watch)),
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
    except VLLMClientError as error:
        raise RequestError(f"vLLM: {error}") from error


def _held_to(grammar: str | None) -> Any:
    from vllm.sampling_params import StructuredOutputsParams

    return None if grammar is None else StructuredOutputsParams(grammar=grammar)


def _penalties(sampling: Sampling) -> dict[str, float]:
    """Return the penalties that vLLM knows."""
    return {
        name: value for name, value in sampling.penalties.items() if name not in UNKNOWN_SAMPLING
    }


def scoring(asked: Asked | None = None, forbidden: Sequence[int] = ()) -> Any:
    """Return the `SamplingParams` for probabilities behind a prompt.

    The token that is written there is the likeliest one that is not forbidden. Without anything
    asked for the prompt is merely read.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        max_tokens=1,
        temperature=0.0,
        ignore_eos=True,
        logit_bias=dict.fromkeys(forbidden, _NEVER) or None,
        **_scores(asked or Asked()),
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def reading_own(forbidden: Sequence[int] = ()) -> Any:
    """Return the `SamplingParams` for the probability and the rank of each token of a prompt.

    Where tokens are forbidden, the likeliest ones come as well, these among them. Tokens that the
    prefix cache holds are not read again, and have no valid values.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        max_tokens=1,
        temperature=0.0,
        ignore_eos=True,
        prompt_logprobs=LIKELIEST if forbidden else 0,
        skip_reading_prefix_cache=False,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _scores(asked: Asked) -> dict[str, Any]:
    if asked.spread:
        return {"logprobs": LIKELIEST}
    return {"logprob_token_ids": list(asked.tokens) or None}


def drafting(token_id: int, *, max_tokens: int) -> Any:
    """Return the `SamplingParams` for a draft up to a token, with its probability all along."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        max_tokens=max_tokens,
        temperature=0.0,
        stop_token_ids=[token_id],
        ignore_eos=True,
        logprob_token_ids=[token_id],
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
    )


def written_in(piece: Any, order: WriteOrder, *, label: str) -> Written:
    """Return what a piece adds. It has an end where a stop token is reached.

    Raises ModelCallError where vLLM gave the request up, or wrote what was forbidden.
    """
    ids, reason = tuple(piece.token_ids), piece.finish_reason
    if reason not in (None, "stop", "length"):
        raise ModelCallError(f"{label}: vLLM gave a request up ({reason})", retryable=True)
    stop_token = ids[-1] if reason == "stop" and ids else None
    kept = ids if stop_token is None else ids[:-1]
    if set(kept).intersection(order.forbidden):
        raise ignored_ban(label)
    return Written(kept, None if stop_token is None else End.STOP_TOKEN, stop_token)


def ignored_ban(label: str) -> ModelCallError:
    """Return the error for a token that was written although it was forbidden."""
    return ModelCallError(
        f"{label}: wrote a token that was forbidden by logit_bias; its logits are too far apart "
        "for that: use 'hf:' for this model",
        retryable=False,
    )


def scores_in(piece: Any) -> list[Scores]:
    """Return what is known of the next token at each token of a piece, that one the likeliest."""
    found = []
    for place, written in zip(piece.logprobs or (), piece.token_ids, strict=False):
        known = {token: min(1.0, math.exp(one.logprob)) for token, one in place.items()}
        found.append(Scores(known, written))
    return found


def own_scores_in(output: Any, first: int, forbidden: Sequence[int] = ()) -> dict[int, Scores]:
    """Return what was known before each token of a prompt that was read, by place, from `first`.

    The first token behind the cached ones has no valid value either: what is known before it comes
    of the last cached token, which was not read.
    """
    scores: dict[int, Scores] = {}
    start = max(first, (output.num_cached_tokens or 0) + 1)
    for at in range(start, len(output.prompt_token_ids)):
        known = output.prompt_logprobs[at] or {}
        if output.prompt_token_ids[at] in known:
            found = {token: min(1.0, math.exp(one.logprob)) for token, one in known.items()}
            scores[at] = Scores(found, _likeliest(known, forbidden))
    return scores


def _likeliest(known: Mapping[int, Any], forbidden: Sequence[int]) -> int | None:
    """Return the likeliest token that is not forbidden; None if it is not known here."""
    for above, (token, one) in enumerate(sorted(known.items(), key=lambda item: item[1].rank)):
        if one.rank != 1 + above:
            break
        if token not in forbidden:
            return token
    return None
