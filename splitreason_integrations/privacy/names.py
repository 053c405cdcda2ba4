"""Judges names and values: whether a name is that of a secret, and whether a value looks like one.

Names may be written in any way: `apiKey`, `API_KEY`, `x-api-key`, `db.password`.
"""

import re

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\x00-\x7f]+")
_PASSWORDS_LISTED = (
    "password passwd pwd passphrase passcode passwort kennwort senha contrasena parole "
    "contrase\u00f1a \u043f\u0430\u0440\u043e\u043b\u044c \u5bc6\u7801 \u5bc6\u78bc "
    "\u30d1\u30b9\u30ef\u30fc\u30c9 \u6697\u8a3c\u756a\u53f7 \ube44\ubc00\ubc88\ud638"
)
_PASSWORDS = frozenset(_PASSWORDS_LISTED.split())
_ALONE_LISTED = (
    "passwords secret secrets token apikey apikeys authtoken accesstoken refreshtoken bearer "
    "authorization credential credentials cookie cookies accesskey secretkey privatekey "
    "clientsecret authkey pass auth passkey cvv cvc sessionid sessid sshpass phpsessid jsessionid"
)
_ALONE = _PASSWORDS | frozenset(_ALONE_LISTED.split())
_WEAK = frozenset({"pass", "auth", "cvv", "cvc", "cookie", "cookies", "bearer", "authorization"})
"""Names that mean other things, too: their values have to look like secrets."""
_OF_KEYS_LISTED = (
    "api access secret private signing encryption decryption master account storage shared auth "
    "subscription client service server license licence session deploy webhook functions hmac aes "
    "rsa ssh app application consumer admin root sas pat crypto user"
)
_OF_KEYS = frozenset(_OF_KEYS_LISTED.split())
_AFTER_LISTED = (
    "value val text plain plaintext raw old new current confirm confirmation confirmed again "
    "repeat repeated default base b64 base64 prod production dev test staging live "
    "main primary secondary hash env string str"
)
_AFTER = frozenset(_AFTER_LISTED.split())
_NOTHING_LISTED = (
    "none null nil true false undefined nan yes no on off string str text number integer int float "
    "bool boolean object array list dict map bytes any optional required secretstr password token "
    "secret char varchar hidden redacted masked removed omitted empty unset default example "
    "changeme xxx todo tbd self"
)
_NOTHING = frozenset(_NOTHING_LISTED.split())
_PROSE_LISTED = (
    "the a an and or not is are was be been to of for in on at by with from your my our their this "
    "that it its you we they i if as has have had can will would should must may please see enter "
    "reset forgot forgotten change changed invalid missing incorrect wrong expired stored hashed "
    "encrypted correct required too here there what which who how when where why only very also "
    "about than then used never always ever good bad strong weak safe secure unsafe set now lost "
    "known unknown valid kept sent shown given needed rotated revoked protected length manager "
    "field policy"
)
_PROSE = frozenset(_PROSE_LISTED.split())
_MASKED = frozenset("*.x-_\u2022#\ufffc")
_REFERENCE = re.compile(
    r"[$%@]?\{\{?.{0,200}\}?\}|\$[A-Za-z_(]\S*|<[A-Za-z_ .-]{1,60}>|%\([a-z_]+\)s|\$\{?[A-Z_]+\}?"
    r"|(?:env|vault|op|file|secret|arn|ref|aws-sm|gcp-sm|keyring)://?\S*",
    re.IGNORECASE,
)
_CALL = re.compile(
    r"[A-Za-z_][A-Za-z_.]{2,}\((?:[A-Za-z_.]*\).*)?|[A-Za-z_][\w.]*\[[^\]]*(?:\].*)?"
)
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:(?:\.|::|->)[A-Za-z_]\w*)+(?:\(\)?)?")
_OWNERS_LISTED = (
    "self this cls config conf cfg settings process os env environ app ctx context request req res "
    "response resp args options opts params user users client data secrets auth credentials creds "
    "state props event session form body headers account model spec obj result results item row "
    "payload message msg module system server service api node event info values value"
)
_OWNERS = frozenset(_OWNERS_LISTED.split())
_IDENTIFIER = re.compile(r"[A-Za-z]+(?:_[A-Za-z]+)+|[a-z]+(?:[A-Z][a-z]+)+")


def is_secret_name(name: str) -> bool:
    """Return whether the value of a name is secret."""
    words = _words(name)
    while len(words) > 1 and (words[-1] in _AFTER or words[-1].isdigit()):
        words.pop()
    if not words:
        return False
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last in _ALONE or last.endswith(("password", "passwd", "apikey", "secretkey")):
        return True
    if last in ("key", "keys"):
        return before in _OF_KEYS
    return (last == "id" and before == "session" and len(words) == 2) or before + last in _ALONE


def is_weak_name(name: str) -> bool:
    """Return whether a name means other things, too."""
    words = _words(name)
    return bool(words) and words[-1] in _WEAK and (len(words) == 1 or words[-1] == "auth")


def is_for_passwords(name: str) -> bool:
    """Return whether a name is that of a password, which may be a word."""
    return any(one in _PASSWORDS for one in _words(name))


def is_nothing(value: str) -> bool:
    """Return whether a value is none: empty, masked, a type, or a reference to where it is kept."""
    value = value.strip()
    return (
        not value
        or value.lower().rstrip(".!?") in _NOTHING
        or set(value.lower()) <= _MASKED
        or value.startswith("\ufffc")
        or _REFERENCE.fullmatch(value) is not None
    )


def is_expression(value: str, name: str) -> bool:
    """Return whether a value without quotes is code that names or computes it."""
    if _CALL.fullmatch(value):
        return True
    if _DOTTED.fullmatch(value):
        parts = [part for part in re.split(r"\W+", value) if part]
        return parts[0].lower() in _OWNERS or any(map(is_secret_name, parts[1:]))
    if _IDENTIFIER.fullmatch(value) or value.isalpha():
        return is_secret_name(value) or not (is_for_passwords(name) or len(value) > 15)
    return value[0] == "&" and value[1:].isidentifier()


def is_prose(value: str) -> bool:
    """Return whether what follows a name is a sentence that goes on."""
    words = value.lower().split()
    return any(word.strip(".,!?;:()") in _PROSE for word in words)


def is_drawn(value: str) -> bool:
    """Return whether a value is no plain word: it has digits, signs, or capitals within."""
    return not value.isalpha() or not (value.islower() or value.istitle())


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(name[-200:])]
