"""Checks of a policy's settings; every error names the setting and what it may be."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from splitreason_integrations.checks import (
    below,
    check_flag,
    check_names,
    check_number,
    check_text,
)
from splitreason_integrations.decide.ask_rules import AskRule
from splitreason_integrations.decide.closing import parse_close
from splitreason_integrations.decide.joined_text import check_rule_text
from splitreason_integrations.decide.pricing import ModelTerms
from splitreason_integrations.decide.rules import Rule
from splitreason_integrations.decide.triggers import parse_trigger
from splitreason_integrations.errors import SettingError
from splitreason_integrations.privacy.finders import check_kind

_WORDS = ("summary", "allows", "costs", "suits", "expect")
_FIXED = {*_WORDS, "trigger", "close", "rules", "models"}
"""What no rule can set: it is read before there is a request."""


def check_policy(policy: Any) -> None:
    """Check all settings of a `Policy` and store lists as tuples.

    Raises SettingError, which names the setting.
    """
    for name in _WORDS:
        check_text(name, getattr(policy, name))
    _check_caps(policy)
    check_number("min_span_tokens", policy.min_span_tokens, least=1, whole=True)
    check_number("min_small_tokens", policy.min_small_tokens, whole=True)
    check_number("min_gap_tokens", policy.min_gap_tokens, whole=True)
    check_flag("only_in_reasoning", policy.only_in_reasoning)
    check_rule_text("trigger", policy.trigger, parse_trigger)
    check_rule_text("close", policy.close, parse_close)
    _check_asking(policy)
    _check_rules(policy)
    _check_models(policy)


def _check_caps(policy: Any) -> None:
    for cap in ("max_spans", "max_span_tokens", "max_large_tokens", "max_reasoning_tokens"):
        if getattr(policy, cap) is not None:
            check_number(cap, getattr(policy, cap), whole=True)
    for cap in ("max_span_s", "max_usd", "deadline_s"):
        if getattr(policy, cap) is not None:
            check_number(cap, getattr(policy, cap))
    if policy.max_offload_share is not None:
        check_number("max_offload_share", policy.max_offload_share, most=1)


def _check_asking(policy: Any) -> None:
    for name in ("ask_before", "ask_after"):
        if not isinstance(getattr(policy, name), AskRule | None):
            raise SettingError(
                f"{name} must be an AskRule such as AskRule(), which always asks, "
                f"got {getattr(policy, name)!r}",
                (name,),
            )
    object.__setattr__(policy, "redact", _as_tuple("redact", policy.redact))
    with below("redact"):
        for name in policy.redact:
            check_kind(name)


def _check_rules(policy: Any) -> None:
    object.__setattr__(policy, "rules", _as_tuple("rules", policy.rules))
    known = {one.name for one in fields(policy)} - _FIXED
    for at, rule in enumerate(policy.rules):
        if not isinstance(rule, Rule):
            raise SettingError(f"rules must hold Rule(when=, set=), got {rule!r}", ("rules", at))
        with below("rules", at, "set"):
            check_names(rule.set, known, what="setting of a rule")
            replace(policy, rules=(), **rule.set)


def _check_models(policy: Any) -> None:
    if not isinstance(policy.models, Mapping):
        raise SettingError(f"models must name ModelTerms, got {policy.models!r}", ("models",))
    for name, terms in policy.models.items():
        if not isinstance(terms, ModelTerms):
            raise SettingError(
                f"the terms of model {name!r} must be ModelTerms(prices=, latency=), got {terms!r}",
                ("models", name),
            )


def _as_tuple(name: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise SettingError(f"{name} must be a list, as in {name} = [...], got {value!r}", (name,))
    return tuple(value)
