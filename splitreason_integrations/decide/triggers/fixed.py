"""Triggers that decide nothing themselves: chosen later, for all, for none, and to observe."""

from collections.abc import Callable
from dataclasses import dataclass

from splitreason_integrations.decide.triggers.base import Needs, Position, Trigger


@dataclass(frozen=True)
class Auto(Trigger):
    """Stands for the trigger that each request chooses for its two models, where none is named."""

    is_auto = True


@dataclass(frozen=True)
class Always(Trigger):
    """The large model writes the whole reply, as far as the policy lets it."""

    hands_back = False

    def fires(self, at: Position) -> bool:
        """Return True."""
        return True


@dataclass(frozen=True)
class Never(Trigger):
    """The small model writes the whole reply; its tags are suppressed."""

    opens_spans = False

    def fires(self, at: Position) -> bool:
        """Return False."""
        return False


@dataclass(frozen=True)
class Shadow(Trigger):
    """Opens no span; reports every position at which another trigger would be asked.

    The small model's tags are suppressed. Where it chose one, the position is reported twice: with
    the tag, and with the token chosen in its place. Each request should have its own `note`.

    Attributes:
        inner: The trigger that is observed.
        note: Called with each position.

    """

    inner: Trigger
    note: Callable[[Position], None]
    opens_spans = False

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        """What the observed trigger needs."""
        return self.inner.needs

    @property
    def uses_tag(self) -> bool:  # type: ignore[override]
        """Whether the observed trigger uses the tag."""
        return self.inner.uses_tag

    def fires(self, at: Position) -> bool:
        """Pass the position on; return False."""
        self.note(at)
        return False

    def __str__(self) -> str:
        return f"shadow({self.inner})"
