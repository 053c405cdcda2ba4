"""What is wrong in a valid policy: words that contradict its settings, a cap that cannot hold.

Words are compared where they name a setting's value: a share in per cent, and a number of spans.
"""

import re
from collections.abc import Iterator

from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.pricing import Prices

_WORDS = ("summary", "allows", "costs")
_SHARE = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)\s*(?:%|per ?cent\b)", re.IGNORECASE)
_SPANS = re.compile(r"(?<![\d.])(\d+)(?:\s+[^\W\d]+)?\s+spans?\b", re.IGNORECASE)


def policy_warnings(policy: Policy) -> list[str]:
    """Return in words what contradicts itself in a policy; empty if nothing does."""
    return [*_contradictions(policy), *_caps_without_prices(policy)]


def _contradictions(policy: Policy) -> Iterator[str]:
    """Yield where the words give another share or number of spans than the settings."""
    share = policy.max_offload_share
    percent = None if share is None else 100 * share
    for name in _WORDS:
        words = getattr(policy, name)
        for found in _SHARE.finditer(words):
            if percent is None or abs(float(found[1]) - percent) > 1e-6:
                yield _contradiction(name, found[0], "max_offload_share", share)
        for found in _SPANS.finditer(words):
            if int(found[1]) != policy.max_spans:
                yield _contradiction(name, found[0], "max_spans", policy.max_spans)


def _contradiction(name: str, said: str, setting: str, value: float | None) -> str:
    here = "not set" if value is None else f"{value:g}"
    return f"{name} says {' '.join(said.split())!r}, and {setting} is {here}: change one of them"


def _caps_without_prices(policy: Policy) -> Iterator[str]:
    """Yield a warning where the cost is capped and the policy knows no prices."""
    caps = (policy.max_usd, *(rule.set.get("max_usd") for rule in policy.rules))
    prices = (terms.prices for terms in policy.models.values())
    if any(cap is not None for cap in caps) and all(one in (None, Prices()) for one in prices):
        yield (
            'max_usd needs prices, and models names none: add [models."*".prices] with input_usd '
            "and output_usd, unless the large model itself has prices="
        )
