"""Orders as vLLM's `SamplingParams`, and its answers as tokens and probabilities."""

import math
from typing import Any

from splitreason_integrations.backends.base import End, WriteOrder, Written
from splitreason_integrations.errors import ModelCallError, RequestError
from splitreason_integrations.sampling import uniform

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

    sampling, watch = order.sampling, order.watch
    wanted = watch.probability_of if watch is not None else None
    try:
        return SamplingParams(
            max_tokens=max_tokens,
            temperature=0.0 if sampling.greedy else sampling.temperature or 0.0,
            top_p=1.0 if sampling.top_p is None else sampling.top_p,
            top_k=sampling.top_k or 0,
            min_p=sampling.min_p or 0.0,
            seed=int(uniform(order.seed, order.stream, position) * (1 << 53)),
            stop_token_ids=sorted(order.stop_tokens),
            ignore_eos=True,
            logit_bias=dict.fromkeys(order.forbidden, _NEVER) or None,
            logprob_token_ids=None if wanted is None else [wanted],
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
    except VLLMClientError as error:
        raise RequestError(f"vLLM: {error}") from error


def scoring(*token_ids: int) -> Any:
    """Return the `SamplingParams` for the probability of tokens behind a prompt.

    Without any the prompt is merely read.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        max_tokens=1,
        temperature=0.0,
        ignore_eos=True,
        logprob_token_ids=list(token_ids) or None,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


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


def probabilities_in(piece: Any, token_id: int) -> list[float]:
    """Return P(`token_id`) at each token of a piece."""
    return [min(1.0, math.exp(place[token_id].logprob)) for place in piece.logprobs or ()]
