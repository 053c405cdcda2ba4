"""A model's codec from its tokenizer's files: no weights are loaded, and nothing is fetched."""

from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from splitreason_integrations.backends.description import ModelDescription
from splitreason_integrations.errors import ModelLoadError
from splitreason_integrations.text.thinking import TemplateSettings

if TYPE_CHECKING:
    from splitreason_integrations.protocols import Codec


@lru_cache(maxsize=16)
def local_codec(described: ModelDescription) -> "Codec":
    """Return the codec of a model that is not loaded.

    Raises:
        ModelLoadError: its tokenizer is not on this machine, or cannot be used.

    """
    from transformers import AutoTokenizer

    from splitreason_integrations.backends.codec import TokenizerCodec

    source, spec = described.tokenizer_source(), cast("Any", described)
    if source is None:
        raise ModelLoadError(f"{described.label} names no tokenizer")
    trust = bool(getattr(spec, "trust_remote_code", False))
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(
            source, local_files_only=True, trust_remote_code=trust
        )
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"{described.label}: no tokenizer is at {source!r} here") from error
    template = TemplateSettings(
        getattr(spec, "thinking", None), getattr(spec, "chat_template_kwargs", {})
    )
    return TokenizerCodec(tokenizer, name=described.label, template=template)
