"""Why a span ended (`closed_by`) and why a reply ended (`stop_reason`): all values, explained.

The reference lists both tables. A close rule that ends a span is named by its text instead.
"""

from collections.abc import Mapping

STOP_REASONS: Mapping[str, str] = {
    "stop": "A model ended the reply, or its last allowed tool call did.",
    "stop_string": "A stop string appeared.",
    "length": "`max_tokens` or the context of a model was reached.",
    "deadline": "The policy's `deadline_s`, or the time-out, was reached.",
    "human_stop": "A person stopped the reply.",
}
"""Each value of `Completion.stop_reason`, and what it means."""

CLOSED_BY: Mapping[str, str] = {
    "small": "The small model would have written the close tag: the close rule `tag`.",
    "large": "The large model wrote the close tag.",
    "large_end": "The large model ended its text there.",
    "exact_length": "The trigger asked for a span of so many tokens, and it had them.",
    "only_in_reasoning": "The reasoning ended, and spans may be in the reasoning alone.",
    "max_span_tokens": "This cap of the policy was reached.",
    "max_span_s": "This cap of the policy was reached.",
    "max_large_tokens": "This cap of the policy was reached.",
    "max_offload_share": "This cap of the policy was reached.",
    "max_usd": "This cap of the policy was reached.",
    "max_reasoning_tokens": "The cap on the reasoning was reached.",
    "failure": "Every large model failed; the small model went on.",
    "human": "A person refused what was written, or replaced it.",
    **STOP_REASONS,
}
"""Each value of `SpanRecord.closed_by` that is no close rule, and what it means."""

CAPS = frozenset(
    name for name in CLOSED_BY if name.startswith("max_") and name != "max_reasoning_tokens"
)
"""The caps that cut a span."""
