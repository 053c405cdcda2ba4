"""A policy file: TOML with the keys of `Policy`, and the trigger."""

import json
from collections.abc import Iterable

from splitreason_integrations.triggers import Trigger


def policy_toml(
    trigger: Trigger, *, max_offload_share: float | None, remarks: Iterable[str]
) -> str:
    """Return the file's text; the remarks stand above the keys as comments."""
    lines = [f"# {' '.join(remark.split())}" for remark in remarks]
    # A JSON string is a TOML string.
    lines.append(f"trigger = {json.dumps(str(trigger))}")
    if max_offload_share is not None:
        lines.append(f"max_offload_share = {float(max_offload_share)!r}")
    return "\n".join(lines) + "\n"
