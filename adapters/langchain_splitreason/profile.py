"""What a pair can do, as far as that is known without loading it."""

import json
from functools import cache
from pathlib import Path

from langchain_core.language_models import ModelProfile

from splitreason_integrations.backends.registry import ModelSpec, Role, TransformersModel, resolve


def profile_of(small: ModelSpec, large: ModelSpec) -> ModelProfile:
    """Return LangChain's profile of a pair; the shorter context is the pair's."""
    profile = ModelProfile(
        text_inputs=True,
        image_inputs=False,
        audio_inputs=False,
        video_inputs=False,
        pdf_inputs=False,
        text_outputs=True,
        reasoning_output=True,
        tool_calling=True,
        tool_choice=False,
        tool_call_streaming=False,
        structured_output=False,
        temperature=True,
    )
    lengths = (_context_tokens(small, role="small"), _context_tokens(large, role="large"))
    known = [length for length in lengths if length is not None]
    if known:
        profile["max_input_tokens"] = min(known)
    return profile


def _context_tokens(spec: ModelSpec, *, role: Role) -> int | None:
    if not isinstance(spec, str | TransformersModel):
        return spec.context_tokens
    return _folder_context(resolve(spec, role=role).path)


@cache
def _folder_context(path: str) -> int | None:
    config = Path(path) / "config.json"
    if not config.is_file():
        return None
    length = json.loads(config.read_text()).get("max_position_embeddings")
    return length if isinstance(length, int) else None
