"""Signatures of paused requests: HMAC-SHA-256 with keys that the application keeps.

Without a key there is a checksum in the signature's place: it finds damage, and keeps nobody out.
"""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any, TypeAlias

from pydantic import SecretStr

from splitreason_integrations.errors import ConfigurationError, PauseError
from splitreason_integrations.humans.stored import as_json
from splitreason_integrations.processes.environment import PAUSE_KEY

PauseKey: TypeAlias = SecretStr | str | Sequence[SecretStr | str] | None
"""A key, or several: the first one signs, and what any of them signed is accepted."""

Keys: TypeAlias = tuple[SecretStr, ...]

_PURPOSE = b"splitreason paused request\n"
"""Signed before the data: the same key may sign other things elsewhere."""
_SIGNED, _SUMMED = "hmac-sha256:", "sha256:"


def read_keys(given: PauseKey) -> Keys | None:
    """Return keys one by one, in a form that is shown nowhere; None for None.

    Raises:
        ConfigurationError: one is no text, or is empty. The error does not repeat it.

    """
    if given is None:
        return None
    several = [given] if isinstance(given, SecretStr | str) else given
    if not isinstance(several, list | tuple) or not several:
        raise ConfigurationError(
            "pause_key takes a key as text, or a list of keys of which the first one signs, got "
            f"{'an empty list' if several == [] else type(given).__name__}"
        )
    return tuple(map(_key, several))


def keys_in_use(given: Keys | None) -> Keys:
    """Return the keys that were given, else those in the environment; empty for none."""
    if given is not None:
        return given
    return tuple(SecretStr(key.strip()) for key in PAUSE_KEY.get().split(",") if key.strip())


def sign(data: Any, keys: Keys) -> str:
    """Return the signature of plain data by the first key; its checksum where there is no key."""
    return _signature(_message(data), keys[0] if keys else None)


def check_signature(data: Any, signature: str | None, keys: Keys) -> None:
    """Check that data was signed with one of the keys, and not changed since.

    Without a key a checksum is checked, and data without one is accepted: earlier versions wrote
    none.

    Raises:
        PauseError: it was changed, is not signed, or its key is not among these.

    """
    is_signed = signature is not None and signature.startswith(_SIGNED)
    if keys and not is_signed:
        raise PauseError.of(
            "it is not signed, and a pause key is set: ask anew, or finish it where no key is set "
            "if nobody else can have written it"
        )
    if is_signed and not keys:
        raise PauseError.of(
            "it is signed, and there is no key to check that with: set pause_key or "
            f"{PAUSE_KEY.name}"
        )
    if signature is None:
        return
    message = _message(data)
    known = [_signature(message, key) for key in keys] or [_signature(message, None)]
    # All are compared, so that the time does not tell which one it was.
    if not sum(hmac.compare_digest(one.encode(), signature.encode()) for one in known):
        raise PauseError.of(
            "it was changed after it was signed, or signed with another key: take it from where it "
            "was stored first, give the key behind the new one, as in pause_key=[new, old], or ask "
            "anew"
            if keys
            else "it was changed after it was written: take it from where it was stored first, or "
            "ask anew"
        )


def _key(given: Any) -> SecretStr:
    key = given.get_secret_value() if isinstance(given, SecretStr) else given
    if not isinstance(key, str):
        raise ConfigurationError(f"a pause key is text, got {type(given).__name__}")
    if not key.strip():
        raise ConfigurationError(
            "a pause key must not be empty; make one with: openssl rand -hex 32"
        )
    return SecretStr(key.strip())


def _signature(message: bytes, key: SecretStr | None) -> str:
    if key is None:
        return _SUMMED + hashlib.sha256(message).hexdigest()
    secret = key.get_secret_value().encode("utf-8", "surrogatepass")
    return _SIGNED + hmac.new(secret, message, hashlib.sha256).hexdigest()


def _message(data: Any) -> bytes:
    return _PURPOSE + as_json(data).encode()
