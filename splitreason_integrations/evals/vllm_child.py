"""Child process that answers prompts by vLLM's speculative decoding, one answer after another.

It reads one line of settings, and writes one line per answer. `speculation_vllm` starts it. Its
engines run in this process, which ends when its standard input is closed.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

DRAFT_TOKENS = 5
"""Tokens that the small model drafts for each pass of the large one."""

_ARGUMENTS = {
    "dtype": "float32",
    "enforce_eager": True,
    "block_size": 32,
    "distributed_executor_backend": "uni",
    # Problems are answered several times: no engine may find a prompt in its cache.
    "enable_prefix_caching": False,
    "skip_tokenizer_init": True,
    "disable_log_stats": True,
}


def main() -> None:
    """Answer all prompts in turn, once by each engine."""
    out = os.dup(1)
    os.dup2(2, 1)  # Keep what libraries print out of the answers.
    settings = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()
    engines = {name: _engine(settings["large"], draft) for name, draft in settings["ways"].items()}
    names = list(engines)
    for engine in engines.values():  # What is set up at the first answer is not timed.
        _answer(engine, settings, settings["prompts"][0])
    for number, prompt in enumerate(settings["prompts"]):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            answer = {"way": name, "prompt": number, **_answer(engines[name], settings, prompt)}
            os.write(out, json.dumps(answer).encode() + b"\n")
    os._exit(0)


def _engine(large: str, draft: str | None) -> Any:
    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    speculative = draft and {
        "method": "draft_model",
        "model": draft,
        "num_speculative_tokens": DRAFT_TOKENS,
    }
    return LLMEngine.from_engine_args(
        EngineArgs(model=large, speculative_config=speculative, **_ARGUMENTS)
    )


def _answer(engine: Any, settings: Mapping[str, Any], prompt: list[int]) -> dict[str, Any]:
    """Return ids, passes of the large model and seconds of one greedy answer."""
    from vllm import SamplingParams
    from vllm.inputs import tokens_input
    from vllm.sampling_params import RequestOutputKind

    params = SamplingParams(
        temperature=0.0,
        max_tokens=settings["max_tokens"],
        stop_token_ids=settings["end_tokens"],
        ignore_eos=True,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
    )
    token_ids, passes, began_s = list[int](), 0, time.perf_counter()
    engine.add_request("answer", tokens_input(prompt), params)
    while engine.has_unfinished_requests():
        # With one request at a time, every pass of the large model gives one output.
        for output in engine.step():
            passes += 1
            token_ids += output.outputs[0].token_ids
    return {"token_ids": token_ids, "passes": passes, "seconds": time.perf_counter() - began_s}


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
