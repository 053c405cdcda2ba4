"""Secrets in every place and encoding, harmless texts, and a reader that undoes the encodings.

None of it knows the rules: forms of keys are those that the services publish, and the reader
decodes with the standard library alone.
"""

import html
import json
import re
import string
import unicodedata
import urllib.parse
import uuid
from base64 import b64encode

LOWER, DIGITS, HEX = string.ascii_lowercase, string.digits, "0123456789abcdef"
ALNUM = string.ascii_letters + DIGITS
WORD = ALNUM + "_"
DASHED = WORD + "-"

KEY_FORMS = {
    # service: beginning, characters, length of the rest, where the form is published
    "GitHub token": ("ghp_", ALNUM, 36, "github.blog/2021-04-05"),
    "GitHub fine-grained": ("github_pat_", WORD, 82, "docs.github.com"),
    "GitLab token": ("glpat-", ALNUM, 20, "docs.gitlab.com/security/tokens"),
    "AWS access key": ("AKIA", string.ascii_uppercase + "234567", 16, "docs.aws.amazon.com/IAM"),
    "Stripe secret": ("sk_live_", ALNUM, 24, "docs.stripe.com/keys"),
    "Stripe webhook": ("whsec_", ALNUM, 32, "docs.stripe.com/webhooks"),
    "Slack bot": ("xoxb-", ALNUM + "-", 50, "api.slack.com/authentication/token-types"),
    "Google API": ("AIza", DASHED, 35, "cloud.google.com/docs/authentication/api-keys"),
    "Google OAuth secret": ("GOCSPX-", DASHED, 28, "developers.google.com/identity"),
    "Hugging Face": ("hf_", string.ascii_letters, 34, "huggingface.co/docs/hub/security-tokens"),
    "OpenAI project": ("sk-proj-", ALNUM, 48, "platform.openai.com/docs"),
    "Anthropic": ("sk-ant-api03-", DASHED, 95, "docs.anthropic.com"),
    "Groq": ("gsk_", ALNUM, 52, "console.groq.com/docs"),
    "npm": ("npm_", ALNUM, 36, "docs.npmjs.com/about-access-tokens"),
    "PyPI": ("pypi-AgEIcHlwaS5vcmc", DASHED, 150, "pypi.org/help"),
    "SendGrid": ("SG.", ALNUM, 22, "docs.sendgrid.com"),
    "Twilio key": ("SK", HEX, 32, "www.twilio.com/docs/iam/api-keys"),
    "DigitalOcean": ("dop_v1_", HEX, 64, "docs.digitalocean.com/reference/api"),
    "Shopify": ("shpat_", HEX, 32, "shopify.dev/docs/apps/auth"),
    "Docker": ("dckr_pat_", DASHED, 27, "docs.docker.com/security/access-tokens"),
    "Vault": ("hvs.", DASHED, 90, "developer.hashicorp.com/vault/docs/concepts/tokens"),
    "Databricks": ("dapi", HEX, 32, "docs.databricks.com/dev-tools/auth/pat"),
    "Postman": ("PMAK-", HEX, 24, "learning.postman.com"),
    "Linear": ("lin_api_", ALNUM, 40, "linear.app/developers"),
}
_AFTER = {"SendGrid": (".", ALNUM, 43), "Postman": ("-", HEX, 34)}
NAMES = ["password", "PASSWORD", "db_password", "apiKey", "API_KEY", "client_secret", "pwd"]
NAMES += ["access_token", "authToken", "passphrase", "AWS_SECRET_ACCESS_KEY", "secretKey"]
VALUES = ALNUM + "!#^*~"


def drawn(rng, characters, length):
    return "".join(rng.choices(characters, k=length))


def password(rng):
    value = drawn(rng, VALUES, rng.randint(8, 24))
    return rng.choice(string.ascii_letters) + value + rng.choice(DIGITS) + rng.choice(ALNUM)


def key_of(rng, service):
    begin, characters, length, _ = KEY_FORMS[service]
    more = _AFTER.get(service)
    key = begin + drawn(rng, characters, length - 1) + rng.choice(characters.replace("-", ""))
    return key + (more[0] + drawn(rng, more[1], more[2]) if more else "")


def card(rng):
    """Return a card number with its check digit, in groups of four."""
    begin, length = rng.choice([("4", 16), ("51", 16), ("37", 15), ("6011", 16), ("3530", 16)])
    digits = begin + drawn(rng, DIGITS, length - len(begin) - 1)
    doubled = [int(one) * 2 for one in digits[::-2]]
    total = sum(map(int, digits[-2::-2])) + sum(one - 9 if one > 9 else one for one in doubled)
    digits += str(-total % 10)
    groups = (4, 4, 4, 4) if length == 16 else (4, 6, 5)
    sign, at, parts = rng.choice([" ", "-", ""]), 0, []
    for size in groups:
        parts.append(digits[at : at + size])
        at += size
    return sign.join(parts)


def signed_token(rng):
    parts = [json.dumps({"alg": "HS256", "n": drawn(rng, LOWER, 8)}).encode()] * 2
    head, body = (b64encode(part).decode().rstrip("=").replace("+", "-") for part in parts)
    return f"{head}.{body}.{drawn(rng, ALNUM, 43)}"


def private_key(rng):
    lines = "\n".join(drawn(rng, ALNUM + "+/", 64) for _ in range(rng.randint(3, 20)))
    kind = rng.choice(["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "])
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{lines}\n-----END {kind}PRIVATE KEY-----"


OWN = {
    "e-mail": lambda rng: f"{drawn(rng, LOWER, 6)}.{drawn(rng, LOWER, 5)}@mail.example.org",
    "phone": lambda rng: f"+49 171 {rng.randint(2000000, 9999999)}",
    "card": card,
    "signed token": signed_token,
    "private key": private_key,
    **{name: (lambda rng, name=name: key_of(rng, name)) for name in KEY_FORMS},
}
"""Secrets that are known by their own form."""

OWN_PLACES = [
    lambda rng, s: f"Please note {s} for later.",
    lambda rng, s: json.dumps({"note": s, "n": rng.randint(1, 99)}),
    lambda rng, s: f"| who | what |\n|---|---|\n| x | {s} |",
    lambda rng, s: {"a": [{"b": s}]},
    lambda rng, s: f"id,value\n7,{s}\n",
]
NAMED_PLACES = [
    lambda rng, s: {"user": "bob", rng.choice(NAMES): s},
    lambda rng, s: {"env": [{"name": "DB_PASSWORD", "value": s}]},
    lambda rng, s: {"headers": {"X-Api-Key": s}, "retries": 3},
    lambda rng, s: {"headers": {"Authorization": f"Bearer {s}"}},
    lambda rng, s: json.dumps({"user": "bob", rng.choice(NAMES): s}, indent=rng.choice([None, 2])),
    lambda rng, s: f"host: db\n{rng.choice(NAMES)}: {s}\nport: 5432\n",
    lambda rng, s: f"HOST=db\nexport {rng.choice(NAMES).upper()}={s}\nPORT=5432\n",
    lambda rng, s: f"POST / HTTP/1.1\nAuthorization: Bearer {s}\nAccept: */*\n",
    lambda rng, s: f"GET /\nX-Api-Key: {s}\n\n",
    lambda rng, s: f"GET /\nCookie: theme=dark; session={s}\n\n",
    lambda rng, s: f"Authorization: Basic {b64encode(('bob:' + s).encode()).decode()}",
    lambda rng, s: f"See https://bob:{urllib.parse.quote(s)}@host.example/x for it.",
    lambda rng, s: f"postgres://app:{urllib.parse.quote(s)}@db.example:5432/main",
    lambda rng, s: f"https://host.example/x?user=bob&pwd={urllib.parse.quote(s)}&page=2",
    lambda rng, s: f'{rng.choice(NAMES)} = "{s}"',
    lambda rng, s: f"The password is {s} for now",
    lambda rng, s: f"run --token {s} --fast",
]


def as_text(value):
    return value if isinstance(value, str) else json.dumps(value)


def in_json(value, depth):
    for _ in range(depth):
        value = json.dumps({"body": value})
    return value


def between(sign):
    return lambda rng, value: sign.join(as_text(value))


def wide(rng, value):
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in as_text(value))


def other_dashes(rng, value):
    dashes, spaces = "\u2010\u2011\u2012\u2013\u2014\u2212\ufe63", "\u00a0\u2002\u2009\u202f\u3000"
    text = "".join(rng.choice(spaces) if c == " " else c for c in as_text(value))
    return "".join(rng.choice(dashes) if c == "-" else c for c in text)


ENCODINGS = {
    "plain": lambda rng, value: value,
    "JSON in JSON": lambda rng, value: in_json(as_text(value), 1),
    "three times JSON": lambda rng, value: in_json(as_text(value), 3),
    "escaped": lambda rng, value: "".join(f"\\u{ord(c):04x}" for c in as_text(value)),
    "percent": lambda rng, value: urllib.parse.quote(as_text(value), safe=""),
    "percent twice": lambda rng, value: urllib.parse.quote(urllib.parse.quote(as_text(value))),
    "zero width": between("\u200b"),
    "soft hyphens": between("\u00ad"),
    "full width": wide,
    "dashes and spaces": other_dashes,
}


def readings(text):
    """Yield a text in all ways in which somebody may read it."""
    for _ in range(9):
        plain = "".join(
            "-" if unicodedata.category(c) == "Pd" or c == "\u2212" else c
            for c in unicodedata.normalize("NFKC", text)
            if unicodedata.category(c) != "Cf"
        )
        yield plain
        text = html.unescape(urllib.parse.unquote(plain))
        text = re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), text)
        text = re.sub(r"\\(.)", lambda found: {"n": "\n"}.get(found[1], found[1]), text)


def shows(text, secret):
    """Return whether a text shows a secret, however it is written."""
    forms = {secret, urllib.parse.quote(secret), b64encode(f"bob:{secret}".encode()).decode()}
    return any(form in reading for reading in readings(text) for form in forms)


def secret_cases(rng, count):
    """Yield secrets, each with a value that holds it, and a name of the case."""
    whole = [(kind, place, code) for kind in OWN for place in OWN_PLACES for code in ENCODINGS]
    whole += [("named", place, code) for place in NAMED_PLACES for code in ENCODINGS]
    rng.shuffle(whole)
    for number in range(count):
        kind, place, code = whole[number % len(whole)]
        secret = OWN[kind](rng) if kind in OWN else password(rng)
        value = ENCODINGS[code](rng, place(rng, secret))
        places = OWN_PLACES if kind in OWN else NAMED_PLACES
        yield secret, value, (kind, places.index(place), code)


def harmless(rng):
    """Return a text without any secret, rich in what looks like one."""
    amount, number = rng.randint(100, 99999) / 100, rng.randint(10**5, 10**9)
    date = f"20{rng.randint(10, 29)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
    some = uuid.UUID(int=rng.getrandbits(128), version=4)
    digest = drawn(rng, HEX, rng.choice([32, 40, 64]))
    return rng.choice(
        [
            f"Request {some} ended on {date} at 12:{rng.randint(10, 59)}:07.123 with status 200.",
            f"commit {digest}\nAuthor: Ann\nDate: {date}\n\n    Fix the parser of tokens\n",
            f"Order no. {number} of {date}: {rng.randint(1, 9)} items, {amount:.2f} EUR in all.",
            json.dumps({"id": str(some), "sha256": digest, "total": amount, "items": [number]}),
            json.dumps({"usage": {"total_tokens": number, "max_tokens": 512}, "token_type": "x"}),
            f"https://shop.example/p/{number}?ref={some}&page={rng.randint(1, 99)}#top",
            f"def total(items):\n    return sum(i.price * {amount} for i in items)  # {date}\n",
            "const token = await getToken(user.id);\nif (!token) { throw new Error('no token'); }",
            "password = os.environ['APP_PASSWORD']\nclient = connect(user, password=password)",
            "Reset your password: open the page and follow the steps. The password is required.",
            "def check(token: str, *, secret: bytes | None = None) -> bool:\n    return True\n",
            f"The ratio is {rng.random()!r}, the mean {rng.random() * 1e6:.6f} +- {amount}.",
            f"Tracking {drawn(rng, string.ascii_uppercase + DIGITS, 12)}, invoice R-{number}.",
            f"SELECT * FROM tokens WHERE id = {number} AND created > '{date}' LIMIT 10;",
            f'ETag: "{digest}"\nContent-Length: {number}\nX-Request-Id: {some}\n',
            f"v{rng.randint(1, 9)}.{rng.randint(0, 20)}.{rng.randint(0, 99)} of {date} "
            f"(build {number}, 10.0.{rng.randint(0, 255)}.{rng.randint(1, 254)}:8080)",
            "The secretary has the key to the room; the author uses cookies and a bearer bond.",
            f"Parcel {rng.randint(10**11, 10**12)} weighs {amount} kg; see page {number % 300}.",
        ]
    )
