"""LangChain's profile of a pair, as far as known without loading it."""

from langchain_core.language_models import ModelProfile

from splitreason_integrations.backends.registry import (
    LargeSpec,
    ModelSpec,
    holds_forms,
    known_context,
)


def profile_of(small: ModelSpec, large: LargeSpec, *, uses_large: bool) -> ModelProfile:
    """Return LangChain's profile of a pair; the shorter context is the pair's.

    Calls can be forced, and answers held to a schema, where the small model holds forms. What only
    its server knows is left out.
    """
    profile = ModelProfile(
        text_inputs=True,
        image_inputs=False,
        audio_inputs=False,
        video_inputs=False,
        pdf_inputs=False,
        text_outputs=True,
        reasoning_output=True,
        tool_calling=True,
        tool_call_streaming=True,
        temperature=True,
    )
    holds = holds_forms(small, role="small")
    if holds is not None:
        profile["tool_choice"] = profile["structured_output"] = holds
    context_tokens = known_context(small, large, uses_large=uses_large)
    if context_tokens is not None:
        profile["max_input_tokens"] = context_tokens
    return profile
