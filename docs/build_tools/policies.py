"""The tables of a policy file's keys, and of the ready-made policies."""

from build_tools.markdown import fields_table, sentence, table
from splitreason_integrations.decide.ask_rules import AskRule
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.pricing import LatencyModel, ModelTerms, Prices
from splitreason_integrations.decide.rules import Rule
from splitreason_integrations.settings import policy_files

TABLES = {
    "policy": Policy,
    "policy-rule": Rule,
    "ask-rule": AskRule,
    "model-terms": ModelTerms,
    "prices": Prices,
    "latency": LatencyModel,
}
"""The tables of a policy file, by the name of their place in the page."""


def keys(name: str) -> str:
    """Return the keys of one table of a policy file."""
    return fields_table(TABLES[name], prefix=name)


def ready_made() -> str:
    """Return the table of the ready-made policies."""
    found = {name: policy_files.template(name) for name in policy_files.template_names()}
    rows = (
        (f"`{name}`", sentence(policy.summary), *map(str, _facts(policy)))
        for name, policy in found.items()
    )
    head = ("Name", "Summary", "Trigger", "Offload share up to", "Spans up to", "A person is asked")
    return table(head, rows)


def _facts(policy: Policy) -> tuple[str, ...]:
    asked = [
        moment
        for moment, rule in (("before", policy.ask_before), ("after", policy.ask_after))
        if rule is not None
    ]
    share = policy.max_offload_share
    return (
        f"`{policy.trigger}`" if policy.trigger else "what suits the models",
        "no cap" if share is None else f"{share:.0%}",
        "no cap" if policy.max_spans is None else str(policy.max_spans),
        " and ".join(asked) or "no",
    )
