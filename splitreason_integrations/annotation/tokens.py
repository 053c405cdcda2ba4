"""Tokens of the model to be trained: how many lie inside spans, and its control tags."""

from collections.abc import Sequence

from splitreason_integrations.annotation.tagging import Span
from splitreason_integrations.backends.hub import files_of
from splitreason_integrations.backends.registry import resolve
from splitreason_integrations.errors import ConfigurationError, ModelLoadError


class TokenCounter:
    """Count tokens with a tokenizer given as JSON text."""

    def __init__(self, tokenizer: str) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_str(tokenizer)

    def inside(self, text: str, spans: Sequence[Span]) -> tuple[int, int]:
        """Return the number of tokens in spans, which must be in order, and of all tokens."""
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        inside, at = 0, 0
        for start, end in offsets:
            while at < len(spans) and spans[at].end <= start:
                at += 1
            # A token may start with the blank before its word.
            inside += at < len(spans) and spans[at].start < end
        return inside, len(offsets)


def tokenizer_of(spec: str) -> tuple[str, tuple[str, ...]]:
    """Return a model's tokenizer as JSON text, and its control tags.

    Raises:
        ConfigurationError: The spec names a server, which has no local tokenizer.
        ModelLoadError: The tokenizer cannot be loaded.

    """
    source = resolve(spec, role="small").tokenizer_source()
    if source is None:
        raise ConfigurationError(
            f"{spec}: name the folder of its tokenizer, as in hf:<folder>, to count its tokens"
        )
    source = files_of(source, what=f"{spec}: its tokenizer cannot be loaded")
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelLoadError(
            f"{spec}: its tokenizer cannot be loaded: {reason}; give a folder, or a name that is "
            "in the local hub cache"
        ) from error
    if not tokenizer.is_fast:
        raise ModelLoadError(f"{spec}: needs a fast tokenizer (a tokenizer.json file)")
    control = [
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if token.special or token.content.startswith(("<", "["))
    ]
    return tokenizer.backend_tokenizer.to_str(), tuple(sorted(control))
