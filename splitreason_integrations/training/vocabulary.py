"""The pair's tokenizer: byte-level BPE with single digits, ChatML with tools.

Any text encodes and decodes to itself; each tag is one special token.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from typing import Any

from splitreason_integrations.problems import FAMILIES, Split, problems, render_tagged
from splitreason_integrations.problems.records import Problem

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
MARKERS = (
    "<think>",
    "</think>",
    "<bigmodel>",
    "</bigmodel>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
)
VOCABULARY_SIZE = 1024
CONTEXT_TOKENS = 2048
WORDS = r"'(?:s|t|re|ve|m|ll|d)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s*[\r\n]+|\s+(?!\S)|\s+"
RESPONSE_TEMPLATE: dict[str, Any] = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "reasoning_content": {
            "open_pattern": r"<think>\n?",
            "close_pattern": r"\n?</think>\n{0,2}",
        },
        "tool_calls": {
            "open": "<tool_call>",
            "close": "</tool_call>",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"close": "<|im_end|>"},
    },
}


def train_tokenizer(*, seed: int, documents: int) -> Any:
    """Train the tokenizer on generated text; return it as a transformers tokenizer."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[PAD, START, END, *MARKERS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(seed, documents), trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[START, *MARKERS],
        model_max_length=CONTEXT_TOKENS,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = (files(__package__) / "chat_template.jinja").read_text("utf-8")
    wrapped.response_template = RESPONSE_TEMPLATE
    # The problems that these models are trained on show no schema.
    wrapped.init_kwargs["schema_prompt"] = ""
    return wrapped


def _texts(seed: int, documents: int) -> Iterable[str]:
    for family in FAMILIES:
        stream = problems(Split.TRAIN, family, seed=seed)
        for _ in range(documents if family != "chat" else documents // 10):
            yield from problem_texts(next(stream))


def problem_texts(problem: Problem) -> Iterable[str]:
    """Yield the texts of a problem: messages, tool schemas as in the template, and reply."""
    import json

    yield "system user assistant tool Tools, one in each line:"
    for tool in problem.tools or ():
        yield json.dumps(tool["function"])
    for message in problem.messages:
        yield message["content"]
    for turn in problem.turns:
        yield render_tagged(turn, lambda _: False)
