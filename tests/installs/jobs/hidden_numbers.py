"""Telephone numbers are hidden from servers and restored; no torch."""

import asyncio
import sys

from modules import import_all
from questions import WORDS

from splitreason_integrations import Policy, Request, SplitEngine
from splitreason_integrations.privacy.redaction import Vault


def main(small: str, large: str) -> None:
    """Hide a number, and answer under the policy that hides the most."""
    vault = Vault(("phone", "phone:DE"))
    assert vault.hide("Call +49 30 901820.") == "Call [PHONE_1]."
    engine = SplitEngine(
        small=f"{small}#large",
        large=f"{large}#large",
        policy=Policy(redact=Policy.template("regulated").redact),
    )
    messages = [{"role": "user", "content": f"{WORDS} Call me at +49 30 901820."}]
    whole = asyncio.run(engine.complete(Request(messages=messages, max_tokens=400)))
    assert whole.answer
    assert "PHONE" not in whole.answer, whole
    import_all(without={"torch", "langchain_core", "llama_index.core", "opentelemetry"})


if __name__ == "__main__":
    main(*sys.argv[1:])
