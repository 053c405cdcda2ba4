"""LangChain's profile of a pair, as far as known without loading it."""

from langchain_core.language_models import ModelProfile

from splitreason_integrations.backends.registry import LargeSpec, ModelSpec, known_context


def profile_of(small: ModelSpec, large: LargeSpec, *, uses_large: bool) -> ModelProfile:
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
    context_tokens = known_context(small, large, uses_large=uses_large)
    if context_tokens is not None:
        profile["max_input_tokens"] = context_tokens
    return profile
