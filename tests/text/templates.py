"""Real chat templates, of TRL's package, over a small tokenizer that has their control tokens."""

import re
from pathlib import Path

import trl
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from splitreason_integrations.backends.codec import TokenizerCodec

FOLDER = Path(trl.__file__).parent / "chat_templates"
END = "<end>"
MARKS = ("<think>", "</think>", "<|im_start|>", "<|im_end|>", "<bigmodel>", "</bigmodel>")
_SPELLED = re.compile(r"<[|｜][^<>|｜\s]+[|｜]>")

DEEPSEEK_V3_1 = (
    "{% if thinking is not defined %}{% set thinking = false %}{% endif %}"
    "{% for m in messages %}<｜{{ m.role }}｜>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<｜Assistant｜>"
    "{{ '<think>' if thinking else '</think>' }}{% endif %}"
)
"""How DeepSeek V3.1 and later switch thoughts, which TRL has no template of."""


def template(name):
    if name == "deepseek_v3_1":
        return DEEPSEEK_V3_1
    return (FOLDER / f"{name}.jinja").read_text("utf-8")


def tokenizer(name):
    """Bytes, and the control tokens that a template spells."""
    text = template(name)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: at for at, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([END, *dict.fromkeys([*MARKS, *_SPELLED.findall(text)])])
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END, chat_template=text)


def codec(name, **more):
    return TokenizerCodec(tokenizer(name), name=name, **more)
