"""Pydantic fields of the options: default, text and range by the table, values checked when set."""

import re
from collections.abc import Mapping
from os import PathLike
from typing import Annotated, Any

from pydantic import (
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)

from splitreason_integrations.audit import AuditLog
from splitreason_integrations.audit.log import OPTIONS as LOG_OPTIONS
from splitreason_integrations.backends.description import Role
from splitreason_integrations.backends.registry import (
    PROVIDER,
    LargeSpec,
    check_model_spec,
    line_up,
)
from splitreason_integrations.checks import check_names
from splitreason_integrations.decide.ask_rules import AskRule
from splitreason_integrations.decide.closing import CloseRule, parse_close
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.resilience import Retry
from splitreason_integrations.decide.triggers import Trigger, parse_trigger
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.humans.human import HumanCheck
from splitreason_integrations.humans.signing import read_keys
from splitreason_integrations.options import OPTIONS
from splitreason_integrations.privacy.redaction import Rule, listed
from splitreason_integrations.settings import from_data, policy_files
from splitreason_integrations.settings.from_data import Kinds
from splitreason_integrations.settings.written import (
    as_data,
    fields_as_data,
    model_from_data,
    reviewer_from_data,
    rule_as_data,
)
from splitreason_integrations.telemetry import Telemetry

_KINDS = Kinds(
    {
        Retry: "part of a retry",
        HumanCheck: "part of a human check",
        AskRule: "condition for asking",
        Telemetry: "part of a telemetry",
    }
)
_PAIR = re.compile(r"(.+?)\+(?=embedded$|\w+:)(.+)")


def check_spec(value: Any, info: ValidationInfo) -> LargeSpec:
    """Return a spec that can be resolved, or a model; nothing is loaded."""
    role: Role = "large" if info.field_name == "large" else "small"
    if isinstance(value, Mapping):
        value = model_from_data(value)
    elif isinstance(value, list | tuple):
        value = [model_from_data(one) if isinstance(one, Mapping) else one for one in value]
    for one in line_up(value) if role == "large" else (value,):
        check_model_spec(one, role=role)
    spec: LargeSpec = value
    return spec


def check_trigger(value: Any) -> Trigger | None:
    """Return a trigger, read from text if need be; None leaves it to the policy."""
    if value is None:
        return None
    if isinstance(value, str):
        return parse_trigger(value)
    if isinstance(value, Trigger):
        return value
    raise ConfigurationError(
        f"trigger must be a Trigger such as Tag() or a text such as 'tag>0.2', got {value!r}"
    )


def check_close(value: Any) -> CloseRule | None:
    """Return a close rule, read from text if need be; None leaves it to the policy."""
    if isinstance(value, str):
        return parse_close(value)
    if isinstance(value, CloseRule | None):
        return value
    raise ConfigurationError(
        f"close must be a CloseRule such as Agrees() or a text such as 'agrees | step', "
        f"got {value!r}"
    )


def check_policy(value: Any) -> Policy:
    """Return a policy, read from a dict or a file or made from a template if need be."""
    if isinstance(value, Policy):
        return value
    if isinstance(value, str | PathLike):
        return policy_files.named(value)
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            "policy must be a Policy, a dict, a template's name or the path of a .toml file, "
            f"got {value!r}"
        )
    return policy_files.from_data(value)


def check_retry(value: Any) -> Retry | None:
    """Return the retry rule, made from a dict if need be; None leaves it to the engine."""
    if isinstance(value, Retry | None):
        return value
    if isinstance(value, Mapping):
        return from_data.build(Retry, value, _KINDS)
    raise ConfigurationError(f"retry must be a Retry such as Retry(attempts=2), got {value!r}")


def check_human(value: Any) -> HumanCheck | None:
    """Return the human check; a function or a reviewer is asked before each handoff."""
    if isinstance(value, HumanCheck | None):
        return value
    if isinstance(value, Mapping):
        given = {**value, "reviewer": reviewer_from_data(value.get("reviewer"))}
        return from_data.build(HumanCheck, given, _KINDS)
    return HumanCheck(reviewer=value)


def check_audit(value: Any) -> AuditLog | None:
    """Return an audit log, opened at a path if need be."""
    if isinstance(value, str | PathLike):
        return AuditLog(value)
    if isinstance(value, Mapping):
        check_names(value, ("path", "content", *LOG_OPTIONS), what="part of an audit log")
        return AuditLog(**value)
    if isinstance(value, AuditLog | None):
        return value
    raise ConfigurationError(f"audit must be an AuditLog or the path of one, got {value!r}")


def check_redact(value: Any) -> tuple[Rule, ...]:
    """Return the rules of redaction one by one."""
    return listed(() if value is None else value)


def rule_names(rules: tuple[Rule, ...]) -> list[str]:
    """Return rules as plain data: functions by their names."""
    return [rule if isinstance(rule, str) else _name_of(rule) for rule in rules]


def _name_of(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


def check_telemetry(value: Any) -> Telemetry | None:
    """Return where telemetry goes: True means the global providers, False nowhere."""
    if isinstance(value, bool):
        return Telemetry() if value else None
    if isinstance(value, Telemetry | None):
        return value
    if isinstance(value, Mapping):
        return from_data.build(Telemetry, value, _KINDS)
    raise ConfigurationError(
        f"telemetry must be a Telemetry such as Telemetry(content=True), True or False, "
        f"got {value!r}"
    )


def type_name(value: Any) -> str | None:
    """Return the name of a value's type as plain data; None for None."""
    return None if value is None else type(value).__name__


def read_pair(name: Any) -> dict[str, Any]:
    """Return the models that a `model` argument names: both of a pair, else the small one."""
    if not isinstance(name, str):
        return {"small": name}
    pair = _PAIR.fullmatch(name.removeprefix(f"{PROVIDER}/"))
    if pair is None:
        return {"small": name.removeprefix(f"{PROVIDER}/")}
    return {"small": pair[1], "large": pair[2]}


def declared(name: str, **more: Any) -> Any:
    """Return the pydantic field of an option: default, text and range are those of the table."""
    option = OPTIONS[name]
    if "default_factory" not in more:
        more["default"] = option.default
    return Field(description=option.text, json_schema_extra=option.json_schema(), **more)


def _write_audit(log: AuditLog | None) -> Any:
    """Return a log's path, and its options where it has some; never its key."""
    if log is None or not (log.content or log.options):
        return log and str(log.path)
    content = {"content": True} if log.content else {}
    return {"path": str(log.path), **content, **log.options}


def _write_telemetry(telemetry: Telemetry | None) -> Any:
    """Return False for none, True for the defaults, else the fields."""
    return telemetry is not None and (fields_as_data(telemetry) or True)


def _write_fields(value: Retry | HumanCheck | None) -> Any:
    return None if value is None else fields_as_data(value)


# Typed as Any, since LangChain makes a schema of a field's bare type where it is configurable.
SpecField = Annotated[
    Any,
    PlainValidator(check_spec),
    PlainSerializer(as_data),
    WithJsonSchema({"type": ["string", "object", "array"]}),
]
TriggerField = Annotated[
    Any,
    PlainValidator(check_trigger),
    PlainSerializer(lambda trigger: rule_as_data(trigger, parse_trigger)),
    WithJsonSchema({"type": "string"}),
]
CloseField = Annotated[
    Any,
    PlainValidator(check_close),
    PlainSerializer(lambda rule: rule_as_data(rule, parse_close)),
    WithJsonSchema({"type": "string"}),
]
PolicyField = Annotated[
    Any,
    PlainValidator(check_policy),
    PlainSerializer(lambda policy: as_data(from_data.plain(policy))),
    WithJsonSchema({"type": ["object", "string"]}),
]
AuditField = Annotated[
    Any,
    PlainValidator(check_audit),
    PlainSerializer(_write_audit),
    WithJsonSchema({"type": ["string", "object"]}),
]
TelemetryField = Annotated[
    Any,
    PlainValidator(check_telemetry),
    PlainSerializer(_write_telemetry),
    WithJsonSchema({"type": ["boolean", "object"]}),
]
HumanField = Annotated[
    Any,
    PlainValidator(check_human),
    PlainSerializer(_write_fields),
    WithJsonSchema({"type": "object"}),
]
RedactField = Annotated[
    Any,
    PlainValidator(check_redact),
    PlainSerializer(as_data),
    WithJsonSchema({"type": "array", "items": {"type": "string"}}),
]
PauseKeyField = Annotated[
    Any,
    PlainValidator(read_keys),
    PlainSerializer(lambda keys: None),
    WithJsonSchema({"type": ["string", "array"], "writeOnly": True}),
]
RetryField = Annotated[
    Any,
    PlainValidator(check_retry),
    PlainSerializer(_write_fields),
    WithJsonSchema({"type": "object"}),
]
