"""The embedded pair's codec, for models that have none of their own."""

from functools import cache

from splitreason_integrations import embedded
from splitreason_integrations.protocols import Codec


@cache
def embedded_codec() -> Codec:
    """Return the tokenizer and the chat template of the embedded pair."""
    from transformers import AutoTokenizer

    from splitreason_integrations.backends.codec import TokenizerCodec

    tokenizer = AutoTokenizer.from_pretrained(embedded.path("small"))
    return TokenizerCodec(tokenizer, name="splitreason-embedded-small")
