"""Answers by vLLM's speculative decoding, from a child process in an environment with vLLM.

vLLM 0.32 runs `draft_model` on a CPU. Its `suffix` does too with arctic-inference 0.1.1, but that
drafts from earlier text and uses no small model.
"""

import json
import subprocess
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import splitreason_integrations
from splitreason_integrations.embedded import path
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.evals.vllm_servers import vllm_python
from splitreason_integrations.processes import environment

ALONE = "large alone"
WAYS = {
    ALONE: None,
    "`base` drafts (`draft_model`)": str(path("base")),
    "`small` drafts (`draft_model`)": str(path("small")),
}
"""What is measured, and the folder of the model that drafts."""

_LOG_BYTES = 2000


@dataclass(frozen=True, slots=True)
class VLLMAnswer:
    """One answer of vLLM.

    Attributes:
        way: Key of `WAYS`.
        prompt: Index of the prompt.
        token_ids: What was generated, its end token included.
        passes: Forward passes of the large model.
        seconds: Wall time.

    """

    way: str
    prompt: int
    token_ids: tuple[int, ...]
    passes: int
    seconds: float


def vllm_answers(
    prompts: Sequence[Sequence[int]], *, end_tokens: Sequence[int], max_tokens: int
) -> Generator[VLLMAnswer, None, None]:
    """Yield greedy answers of the bundled large model to all prompts, in each of `WAYS`.

    Raises:
        ConfigurationError: vLLM is missing or failed; the message quotes its log.

    """
    settings = {
        "large": str(path("large")),
        "ways": WAYS,
        "prompts": [list(prompt) for prompt in prompts],
        "end_tokens": sorted(end_tokens),
        "max_tokens": max_tokens,
    }
    with tempfile.TemporaryFile() as log:
        for answer in _lines(settings, log):
            yield VLLMAnswer(**{**answer, "token_ids": tuple(answer["token_ids"])})


def _lines(settings: Mapping[str, Any], log: Any) -> Generator[dict[str, Any], None, None]:
    """Start the child and yield its lines; it ends when its standard input is closed."""
    root = str(Path(splitreason_integrations.__file__).parents[1])
    with subprocess.Popen(
        [vllm_python(), "-m", "splitreason_integrations.evals.vllm_child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=environment.vllm_process(import_from=root),
        start_new_session=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            with suppress(BrokenPipeError):  # it has ended already: its log says why
                child.stdin.write(json.dumps(settings).encode() + b"\n")
                child.stdin.flush()
            for line in child.stdout:
                yield json.loads(line)
            status = child.wait()
        finally:
            with suppress(BrokenPipeError):
                child.stdin.close()
    if status != 0:
        log.seek(0)
        raise ConfigurationError(
            "vLLM's speculative decoding could not be measured: "
            f"{log.read()[-_LOG_BYTES:].decode(errors='replace')}"
        )
