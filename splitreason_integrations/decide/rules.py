"""Rules of a policy: settings that hold for some requests, chosen by their metadata."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from splitreason_integrations.checks import check_texts
from splitreason_integrations.errors import SettingError


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Settings of a policy that apply to some requests only.

    Attributes:
        when: metadata that a request must have, as in `{"tenant": "acme"}`.
        set: the settings of such a request, as in `{"max_spans": 2}`.

    """

    when: Mapping[str, str] = field(hash=False)
    set: Mapping[str, Any] = field(hash=False)

    def __post_init__(self) -> None:
        check_texts("when", self.when)
        if not isinstance(self.set, Mapping):
            raise SettingError(
                f"set must name settings, as in {{ max_spans = 2 }}, got {self.set!r}", ("set",)
            )

    def applies(self, metadata: Mapping[str, str]) -> bool:
        """Return whether a request's metadata contain all of `when`."""
        return self.when.items() <= metadata.items()

    def within(self, deadline_s: float) -> Self:
        """Return the rule with no later deadline than this, if it sets one."""
        if "deadline_s" not in self.set:
            return self
        earliest = sooner(self.set["deadline_s"], deadline_s)
        return replace(self, set={**self.set, "deadline_s": earliest})


def sooner(one_s: float | None, other_s: float) -> float:
    """Return the sooner of two deadlines; None is no deadline."""
    return other_s if one_s is None else min(one_s, other_s)
