"""Signatures of a log's head: HMAC-SHA-256 by the standard library, or Ed25519.

A signature covers the hash of the record before it, and so every record up to there. Whoever has
no key cannot write the chain anew. Keys are shown nowhere.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from pydantic import SecretStr

from splitreason_integrations.audit.record import AuditRecord
from splitreason_integrations.checks import check_extra
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.processes.environment import AUDIT_KEY

_PURPOSE = b"splitreason audit head\n"
"""Signed before the head: the same key may sign other things elsewhere."""
_LEAST_CHARS = 16
_MAKE = "make one with: openssl rand -hex 32"


class SigningKey(Protocol):
    """What signs and checks signatures.

    Attributes:
        name: tells keys apart, without the secret.
        can_sign: False for a public key.

    """

    name: str
    can_sign: bool

    def sign(self, message: bytes) -> str:
        """Return the signature as text."""
        ...

    def has_signed(self, message: bytes, signature: str) -> bool:
        """Return whether a signature is this key's."""
        ...


AuditKey: TypeAlias = SecretStr | str | Sequence[SecretStr | str | SigningKey] | None
"""A key, or several: the first one signs, and what any of them signed is accepted."""


def read_keys(given: AuditKey) -> tuple[SigningKey, ...]:
    """Return keys one by one: PEM means Ed25519, other text is a secret of HMAC.

    None means those in the environment variable `SPLITREASON_AUDIT_KEY`, if any.

    Raises:
        ConfigurationError: one is no key. The error does not repeat it.
        MissingExtraError: Ed25519 without the package cryptography.

    """
    if given is None:
        value = AUDIT_KEY.get()
        several = [value] if _PEM in value else value.split(",")
        return tuple(_key(one) for one in several if one.strip())
    listed = [given] if isinstance(given, SecretStr | str) else given
    if not isinstance(listed, list | tuple) or not listed:
        what = "an empty list" if listed in ([], ()) else type(given).__name__
        raise ConfigurationError(
            f"key takes a key as text, or a list of keys of which the first one signs, got {what}"
        )
    return tuple(map(_key, listed))


def signature_data(key: SigningKey, head: AuditRecord, every: int) -> dict[str, Any]:
    """Return the data of the record that signs `head`; `every` is signed too."""
    message = _message(head.sequence, head.hash, every)
    return {"key": key.name, "signature": key.sign(message), "every": every}


@dataclass(slots=True)
class SignatureCheck:
    """Follows the records of a log, and checks each signature of it.

    Attributes:
        keys: the keys whose signatures count.
        signed: the last record that a signature covers; 0 for none.
        every: after how many records at most the next signature was due.

    """

    keys: tuple[SigningKey, ...]
    signed: int = 0
    every: int = 0
    signatures: int = 0

    def problem_of(self, record: AuditRecord) -> str:
        """Return what is wrong with a record's signature; empty if nothing is, or it is none."""
        if record.kind != "signed":
            return ""
        data = record.data
        try:
            every, signature, name = data["every"], data["signature"], data["key"]
        except (KeyError, TypeError):
            return "forged: the signature lacks a part"
        own = [key for key in self.keys if key.name == name]
        if not own:
            return (
                f"unknown: it is signed with the key {str(name)[:40]!r}, which was not given; give "
                "it too"
            )
        message = _message(record.sequence - 1, record.previous, every)
        if not any(key.has_signed(message, str(signature)) for key in own):
            return "forged: the signature is not that of its key"
        self.signed, self.every = record.sequence, every
        self.signatures += 1
        return ""

    def problem_at_end(self, records: int, last: int) -> str:
        """Return what is missing at the end of a log whose last record has the number `last`."""
        if records and not self.signatures:
            return "unsigned: no record is signed"
        if last - self.signed > self.every:
            return (
                f"unsigned: after record {self.signed} there should be a signature within "
                f"{self.every} records, and there are {last - self.signed} without one"
            )
        return ""


_PEM = "-----BEGIN"


def _message(sequence: int, head: str, every: Any) -> bytes:
    return _PURPOSE + f"{sequence} {head} {every}".encode("utf-8", "surrogatepass")


def _key(given: Any) -> SigningKey:
    if isinstance(given, _Hmac | _Ed25519):
        return given
    text = given.get_secret_value() if isinstance(given, SecretStr) else given
    if not isinstance(text, str):
        raise ConfigurationError(f"a key of the audit log is text, got {type(given).__name__}")
    text = text.strip()
    if text.startswith(_PEM):
        return _ed25519(text)
    if len(text) < _LEAST_CHARS:
        raise ConfigurationError(
            f"a key of the audit log needs {_LEAST_CHARS} characters or more; {_MAKE}"
        )
    return _Hmac(SecretStr(text))


class _Hmac:
    can_sign = True

    def __init__(self, secret: SecretStr) -> None:
        self._secret = secret
        self.name = "hmac-sha256:" + self.sign(b"name\n")[:8]

    def sign(self, message: bytes) -> str:
        secret = self._secret.get_secret_value().encode("utf-8", "surrogatepass")
        return hmac.new(secret, message, hashlib.sha256).hexdigest()

    def has_signed(self, message: bytes, signature: str) -> bool:
        return hmac.compare_digest(
            self.sign(message).encode(), signature.encode("utf-8", "surrogatepass")
        )


class _Ed25519:
    def __init__(self, private: Any, public: Any, raw: bytes) -> None:
        self._private, self._public = private, public
        self.can_sign = private is not None
        self.name = "ed25519:" + hashlib.sha256(raw).hexdigest()[:8]

    def sign(self, message: bytes) -> str:
        signature: bytes = self._private.sign(message)
        return signature.hex()

    def has_signed(self, message: bytes, signature: str) -> bool:
        from cryptography.exceptions import InvalidSignature

        try:
            self._public.verify(bytes.fromhex(signature), message)
        except (InvalidSignature, ValueError):
            return False
        return True


def _ed25519(pem: str) -> SigningKey:
    check_extra("sign", "cryptography", what="an Ed25519 key of the audit log")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    private = None
    try:
        if "PRIVATE KEY" in pem:
            loaded: Any = serialization.load_pem_private_key(pem.encode(), password=None)
            private, public = loaded, loaded.public_key()
        else:
            public = serialization.load_pem_public_key(pem.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(
            "the PEM text given as a key of the audit log cannot be read; give an Ed25519 key "
            "without a password, as 'openssl genpkey -algorithm ed25519' makes it"
        ) from error
    if not isinstance(public, ed25519.Ed25519PublicKey):
        raise ConfigurationError(
            "a PEM key of the audit log must be an Ed25519 key; make one with: "
            "openssl genpkey -algorithm ed25519"
        )
    return _Ed25519(private, public, public.public_bytes_raw())
