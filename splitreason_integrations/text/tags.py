"""The tags that open and close a span, as one model's tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

from splitreason_integrations.protocols import Codec

OPEN = "<bigmodel>"
CLOSE = "</bigmodel>"


@dataclass(frozen=True, slots=True)
class Tags:
    """How one model writes the tags. A model without tokens for them neither writes nor reads any.

    Attributes:
        open_tokens: The tag that opens a span.
        close_tokens: The tag that closes it.
        control: Whether each tag is a single control token; otherwise tags are plain text.

    """

    open_tokens: tuple[int, ...] = ()
    close_tokens: tuple[int, ...] = ()
    control: bool = False

    def __bool__(self) -> bool:
        return bool(self.open_tokens)

    @property
    def control_tokens(self) -> tuple[int, ...]:
        """Both tags, where they are control tokens."""
        return (*self.open_tokens, *self.close_tokens) if self.control else ()


def tags_of(codec: Codec, *, as_text: bool) -> Tags:
    """Return a model's tags: control tokens if it has them, else plain text if `as_text`."""
    opening, closing = codec.control_token(OPEN), codec.control_token(CLOSE)
    if opening is not None and closing is not None:
        return Tags((opening,), (closing,), control=True)
    if as_text:
        return Tags(tuple(codec.encode(OPEN)), tuple(codec.encode(CLOSE)))
    return Tags()


def partial_tag(text: str, tags: Sequence[str]) -> int:
    """Return the length of the longest end of `text` that begins one of the tags."""
    longest = max(map(len, tags), default=0)
    for length in range(min(len(text), longest), 0, -1):
        if any(tag.startswith(text[-length:]) for tag in tags):
            return length
    return 0
