"""What opens and ends spans where nobody named it, and what two models cannot do together.

A default works for what the small model is, spends nothing that nobody allowed, and always ends
its spans. A rule that is named is never replaced: where it cannot work, the request is refused
before any work; where it can only do nothing, a warning says so.
"""

import logging
from dataclasses import dataclass, replace

from splitreason_integrations.backends.base import Gives, Model
from splitreason_integrations.backends.probed_reply import LIKELY
from splitreason_integrations.backends.tag_probe import Teaching
from splitreason_integrations.decide.closing import (
    Agrees,
    CloseNeeds,
    CloseRule,
    StepEnd,
    TagClose,
)
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.triggers import (
    Both,
    Disagreement,
    Either,
    Entropy,
    Needs,
    Opening,
    Tag,
    Trigger,
)
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.events import RulesChosen

MOST_SHARE = 0.2
"""The offload share that a default allows where the small model alone says what is hard."""

MOST_SPAN_TOKENS = 256
"""How long a span may be that ends without a learned tag, where the policy has no cap."""

DISAGREEMENT = Disagreement(0.1)
ENTROPY = Entropy(1.5)
OPENING = Opening(64)

_WRITES = Needs.OPEN_PROBABILITY | Needs.ENTROPY | Needs.CONFIDENCE
_READS = CloseNeeds.CLOSE_PROBABILITY | CloseNeeds.OWN | CloseNeeds.ENTROPY
_log = logging.getLogger(__name__)
_warned: set[str] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What opens and ends the spans of a request, and what caps them.

    Attributes:
        trigger: opens spans.
        close: ends them.
        policy: caps them.
        reason: why the rules that nobody named were chosen; None where both were named.

    """

    trigger: Trigger
    close: CloseRule
    policy: Policy
    reason: str | None = None

    def event(self, request_id: str) -> RulesChosen:
        """Return the event that reports the rules."""
        return RulesChosen(request_id, str(self.trigger), str(self.close), self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """The two models of a request, and what it allows.

    Attributes:
        small: the small model.
        large: the large model; None while none can be reached.
        teaching: what the small model knows of the tags; None where that makes no difference.
        asks_first: whether a person may be asked before a span is written.

    """

    small: Model
    large: Model | None
    teaching: Teaching | None
    asks_first: bool

    @property
    def opens(self) -> bool:
        """Whether the small model was taught to open spans."""
        return self.teaching is None or self.teaching.opens


def choose(named: Rules, here: Situation) -> Rules:
    """Return the rules of a request: those that are named, and defaults for `auto`.

    Raises:
        ConfigurationError: a named rule cannot work with these two models, or in this request.

    """
    rules, reasons = named, list[str]()
    if named.trigger.is_auto:
        rules, why = _with_trigger(rules, here)
        reasons.append(why)
    if named.close.is_auto and rules.trigger.opens_spans and rules.trigger.hands_back:
        rules, why = _with_close(rules, here)
        reasons.append(why)
    elif named.close.is_auto:
        rules = replace(rules, close=TagClose())
    refusal = trigger_obstacle(rules.trigger, here) or close_obstacle(rules.close, here)
    if refusal is not None:
        raise ConfigurationError(refusal)
    if not here.opens and waits_for_tag(rules.trigger):
        _warn_once(here.small.name)
    return replace(rules, reason="; ".join(reasons) or None)


def marks_spans(trigger: Trigger, close: CloseRule, teaching: Teaching | None) -> bool:
    """Return whether models that know the tags are shown spans within them.

    They learned where spans of their own begin and end. Other spans are text like any other: on 40
    problems with the bundled `base`, `disagreement<0.1` and `agrees`, the large model gets all
    right without tags, and 15 % where it is shown tags around the words that it corrects.

    Args:
        trigger: the named trigger, or `auto`.
        close: the named close rule, or `auto`.
        teaching: what the small model knows of the tags; None where no span is handed back.

    """
    if teaching is None or not teaching.opens:
        return False
    if trigger.uses_tag or close.uses_tag or trigger.is_auto:
        return True
    return close.is_auto and _closes_by_tag(trigger, teaching)


def _closes_by_tag(trigger: Trigger, teaching: Teaching | None) -> bool:
    """Return whether a close rule that nobody named is the tag's.

    It is not where the large model objects to single words: the bundled taught pair is right in
    98 % of 40 problems with `disagreement<0.1` and `agrees`, and in 33 % with the close tag.
    """
    if teaching is None:
        return True
    corrects = Needs.LARGE in trigger.needs and not trigger.uses_tag
    return teaching.closes and not corrects


def trigger_obstacle(trigger: Trigger, here: Situation) -> str | None:
    """Return why a trigger cannot work here, and the remedy; None where it can."""
    small, large = here.small.name, here.large
    if trigger.needs & _WRITES and Gives.WRITING not in here.small.gives:
        return (
            f"{small} is on a server that gives no probabilities of what it writes, which "
            f"{trigger} needs: use another trigger, such as Tag() or Opening(64), a server that "
            "gives token ids, such as vLLM or llama.cpp, or a small model by transformers, such as "
            "'hf:<folder>'"
        )
    if Needs.LARGE not in trigger.needs:
        return None
    if here.asks_first:
        return (
            f"{trigger} has the large model read what the small one writes, and a person is to be "
            "asked before text goes there: ask after a span (HumanCheck(before=None, after=...)), "
            "or use another trigger, such as entropy>1.5"
        )
    if large is not None and Gives.READING not in large.gives:
        return (
            f"{large.name} gives no probabilities of what it reads, which {trigger} needs: use "
            "another trigger, such as entropy>1.5, or a large model by transformers, by vLLM or on "
            "a server with prompt or top log probabilities"
        )
    return None


def close_obstacle(close: CloseRule, here: Situation) -> str | None:
    """Return why a close rule cannot work here, and the remedy; None where it can."""
    if close.needs & _READS and Gives.READING not in here.small.gives:
        return (
            f"{here.small.name} is on a server that gives no probabilities of what it reads, which "
            f"the close rule {close} needs: use close='step', a server with log probabilities, "
            "such as vLLM, or a small model by transformers, such as 'hf:<folder>'"
        )
    return None


def _with_trigger(rules: Rules, here: Situation) -> tuple[Rules, str]:
    """Return the rules with the trigger that suits the small model, and why it was chosen."""
    teaching = here.teaching
    if teaching is None or teaching.opens:
        said = f" ({teaching.why})" if teaching is not None else ""
        return replace(rules, trigger=Tag()), f"{here.small.name} was taught to mark spans{said}"
    untaught = f"{here.small.name} was never taught to mark spans ({teaching.why})"
    obstacle = _reading_obstacle(rules.policy, here)
    if obstacle is None:
        return replace(rules, trigger=DISAGREEMENT), f"{untaught}, and the large model reads along"
    share = rules.policy.max_offload_share
    capped = replace(
        rules.policy, max_offload_share=MOST_SHARE if share is None else min(share, MOST_SHARE)
    )
    by_entropy = trigger_obstacle(ENTROPY, here) is None
    trigger: Trigger = ENTROPY if by_entropy else OPENING
    lacks = "" if by_entropy else "; it gives no probabilities of what it writes"
    return (
        replace(rules, trigger=trigger, policy=capped),
        f"{untaught}; {obstacle}{lacks}; at most {capped.max_offload_share:.0%} are offloaded",
    )


def _reading_obstacle(policy: Policy, here: Situation) -> str | None:
    """Return why the large model may not read along unasked; None where it may."""
    large = here.large
    if large is None:
        return "no large model could be reached"
    if here.asks_first:
        return "a person is asked before text goes to the large model"
    if Gives.READING not in large.gives:
        return f"{large.name} gives no probabilities of what it reads"
    if policy.prices_of(large.name, large.prices).input_usd > 0 and policy.max_usd is None:
        return f"what {large.name} reads has a price, and the policy sets no max_usd"
    return None


def _with_close(rules: Rules, here: Situation) -> tuple[Rules, str]:
    """Return the rules with the close rule that suits the small model, and why it was chosen."""
    if _closes_by_tag(rules.trigger, here.teaching):
        return replace(rules, close=TagClose()), "spans end at its close tag"
    agrees = close_obstacle(Agrees(), here) is None
    close = Agrees() | StepEnd() if agrees else StepEnd()
    cap = rules.policy.max_span_tokens
    most = MOST_SPAN_TOKENS if cap is None else cap
    capped = replace(rules.policy, max_span_tokens=most)
    where = "where it agrees, at the end of a step" if agrees else "at the end of a step"
    return (
        replace(rules, close=close, policy=capped),
        f"spans end {where} or after {most} tokens",
    )


def waits_for_tag(trigger: Trigger) -> bool:
    """Return whether no span opens unless the small model gives the tag a fair probability."""
    match trigger:
        case Tag(threshold=threshold):
            return threshold is None or threshold >= LIKELY
        case Either(left=left, right=right):
            return waits_for_tag(left) and waits_for_tag(right)
        case Both(left=left, right=right):
            return waits_for_tag(left) or waits_for_tag(right)
    return False


def _warn_once(small: str) -> None:
    if small not in _warned:
        _warned.add(small)
        _log.warning(untaught_remedy(small))


def untaught_remedy(small: str) -> str:
    """Return what to do about a trigger that waits for tags which a model never writes."""
    return (
        f"{small} was never taught to mark spans: with `tag` no span will open. Name no trigger to "
        "have one chosen, or use disagreement<0.1 or entropy>1.5; or teach it: splitreason train "
        "--help. If it was taught, say taught=True in its spec"
    )
