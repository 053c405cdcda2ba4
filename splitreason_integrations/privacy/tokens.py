"""Finds keys that look like no other text: the forms in which well-known services write theirs.

The forms are those that the services publish, in their documentation or for secret scanners.
"""

import re
from collections.abc import Iterator
from functools import cache

from splitreason_integrations.patterns import compiled

_DASHED = r"[A-Za-z0-9_-]"
_FORMS: dict[str, str] = {
    # OpenAI, Anthropic, Stripe, Clerk, OpenRouter, Langfuse and many more
    "sk- pk- rk- sk_ pk_ rk_": rf"{_DASHED}{{16,}}",
    "whsec_": r"[A-Za-z0-9+/=]{20,}",
    # AWS
    "AKIA ASIA ABIA ACCA": r"[0-9A-Z]{16}\b",
    "ABSK": r"[A-Za-z0-9+/=]{40,}",
    # GitHub, GitLab, Atlassian, Bitbucket
    "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_": r"[A-Za-z0-9_]{20,}",
    "glpat- glptt- gldt- glrt- glrtr- glcbt- glft- glimt- glagent- glsoat- gloas- glwt- glffct-": (
        r"[A-Za-z0-9_.=-]{16,}"
    ),
    "ATATT3": r"[A-Za-z0-9_=-]{20,}",
    "ATBB": r"[A-Za-z0-9]{24,}",
    # Slack, Discord, Telegram
    "xoxa- xoxb- xoxc- xoxd- xoxe- xoxe. xoxo- xoxp- xoxr- xoxs- xapp-": r"[A-Za-z0-9.%-]{10,}",
    "hooks.slack.com/": r"(?:services|workflows|triggers)/[A-Za-z0-9+/_-]{20,}",
    "discord.com/ discordapp.com/": rf"api/webhooks/[0-9]{{5,}}/{_DASHED}{{20,}}",
    # Google
    "AIza": rf"{_DASHED}{{30,}}",
    "ya29.": r"[A-Za-z0-9_.-]{20,}",
    "GOCSPX-": rf"{_DASHED}{{20,}}",
    "1//0": rf"{_DASHED}{{20,}}",
    # Models and their tools
    "hf_ api_org_ gsk_ r8_ fw_ nvapi- xai- pplx- tvly- pcsk_ tgp_v1_ csk- jina_ lsv2_pt_ lsv2_sk_"
    " wandb_v1_ e2b_ fc- ": rf"{_DASHED}{{20,}}",
    # Packages and containers
    "npm_": r"[A-Za-z0-9]{30,}",
    "pypi-": rf"{_DASHED}{{50,}}",
    "rubygems_": r"[0-9a-f]{48}",
    "dckr_pat_ dckr_oat_": rf"{_DASHED}{{20,}}",
    "cio": r"[A-Za-z0-9]{32}\b",
    # Mail and messages
    "SG.": rf"{_DASHED}{{16,}}\.{_DASHED}{{32,}}",
    "SK AC": r"[0-9a-f]{32}\b",
    "key-": r"[0-9a-f]{32}\b",
    "xkeysib- xsmtpsib-": r"[0-9a-f]{64}-[A-Za-z0-9]{16}",
    # Clouds and their tools
    "dop_v1_ doo_v1_ dor_v1_": r"[0-9a-f]{64}",
    "LTAI": r"[A-Za-z0-9]{12,24}\b",
    "AKID": r"[A-Za-z0-9]{32}",
    "hvs. hvb. hvr.": rf"{_DASHED}{{20,}}",
    "dp.pt. dp.st. dp.ct. dp.sa. dp.scim. dp.audit.": r"[A-Za-z0-9_.-]{30,}",
    "pul-": r"[0-9a-f]{40}",
    "pscale_tkn_ pscale_pw_ pscale_oauth_": r"[A-Za-z0-9_.=-]{30,}",
    "sbp_ sbp_oauth_": r"[0-9a-f]{40}",
    "sb_secret_": rf"{_DASHED}{{20,}}",
    "tskey-": r"[a-z]{2,12}-[A-Za-z0-9-]{10,}",
    "nfp_ nfc_ nfo_": r"[A-Za-z0-9]{32,}",
    "fm1_ fm2_ fo1_": r"[A-Za-z0-9_+/=-]{32,}",
    "HRKU-": rf"{_DASHED}{{30,}}",
    "dapi": r"[0-9a-f]{32}(?:-[0-9])?",
    "PMAK-": r"[0-9a-f]{24}-[0-9a-f]{34}",
    "NRAK- NRRA- NRJS- NRII- NRSP-": r"[A-Za-z0-9_-]{19,}",
    "glsa_ glc_": r"[A-Za-z0-9+/=_]{32,}",
    "sntrys_ sntryu_": r"[A-Za-z0-9+/=_]{40,}",
    "dt0c01. dt0s01. dt0s16.": r"[A-Z0-9]{24}\.[A-Z0-9]{64}",
    "bkua_ bkaj_ bkct_": r"[A-Za-z0-9]{32,}",
    "CCIPAT_ CCIPRJ_": r"[A-Za-z0-9_]{20,}",
    "sgp_": r"[A-Za-z0-9_]{32,}",
    "AGE-SECRET-KEY-1": r"[0-9A-Z]{58}",
    "apify_api_": r"[A-Za-z0-9]{36}",
    # Shops and payments
    "shpat_ shpca_ shppa_ shpss_ shpua_": r"[0-9a-fA-F]{32}",
    "sq0atp- sq0csp- sq0idp-": rf"{_DASHED}{{20,}}",
    "EAAA": rf"{_DASHED}{{58,}}",
    "EAA": r"[A-Z][A-Za-z0-9]{80,}",
    "access_token$": r"(?:production|sandbox)\$[0-9a-z]{16}\$[0-9a-f]{32}",
    "access- public-": r"(?:sandbox|production|development)-[0-9a-f-]{36}",
    "rzp_live_ rzp_test_": r"[A-Za-z0-9]{14,}",
    "shippo_live_ shippo_test_": r"[0-9a-f]{40}",
    "FLWSECK- FLWSECK_TEST-": r"[A-Za-z0-9-]{32,}",
    "EZAK EZTK": r"[A-Za-z0-9]{54}",
    # Work
    "secret_ ntn_": r"[A-Za-z0-9]{43,}",
    "lin_api_ lin_oauth_": r"[A-Za-z0-9]{32,}",
    "figd_": rf"{_DASHED}{{32,}}",
    "pat": r"[A-Za-z0-9]{14}\.[0-9a-f]{64}",
    "CFPAT-": rf"{_DASHED}{{43}}",
    "pat-": r"(?:na|eu|ap)[0-9]-[0-9a-f-]{36}",
    "sl.": r"[A-Za-z0-9_.-]{100,}",
    "rdme_": r"[0-9a-z]{70}",
    "tfp_": r"[A-Za-z0-9_.=-]{40,}",
    "pnu_": r"[A-Za-z0-9]{36}",
    "phx_ phs_": r"[A-Za-z0-9]{32,}",
    "AQVN": rf"{_DASHED}{{35,}}",
    "y0_ y1_ y2_ y3_": rf"{_DASHED}{{40,}}",
    # Signed and encrypted tokens (RFC 7515, RFC 7516)
    "eyJ": rf"{_DASHED}{{8,}}\.{_DASHED}{{8,}}(?:\.{_DASHED}*){{1,3}}",
}
"""What a key begins with, and what follows."""
_AROUND = tuple(
    (middle, re.compile(before), re.compile(after))
    for middle, before, after in (
        # Mailchimp, Azure (client secrets, and keys of 64 bytes), Terraform, Telegram, Discord
        ("-us", r"\b([0-9a-f]{32})\Z", r"[0-9]{1,2}\b"),
        ("Q~", r"(?:^|[^A-Za-z0-9_~.-])([A-Za-z0-9_~.-]{3}[0-9])\Z", r"[A-Za-z0-9_~.-]{31,34}"),
        ("==", r"(?:^|[^A-Za-z0-9+/])([A-Za-z0-9+/]{86})\Z", r""),
        (".atlasv1.", r"\b([A-Za-z0-9]{14})\Z", r"[A-Za-z0-9_=-]{50,}"),
        (":AA", r"\b([0-9]{8,10})\Z", rf"{_DASHED}{{33}}"),
        (":APA91b", rf"\b({_DASHED}{{11,22}})\Z", rf"{_DASHED}{{100,}}"),
    )
)
"""Keys that are known by their middle: it, what is before it, and after."""
_REACH = 96
_BEGUN = re.compile(r"[A-Za-z0-9_.$/-]{1,4096}\Z")
_LONGEST = 4096
_SURE_WORDS = (
    "AKIA ASIA AIza ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- xoxa- xoxb- xoxe- xoxp- xoxs- "
    "xapp- hf_ gsk_ npm_ pypi- SG. dop_v1_ eyJ whsec_ shpat_ hvs. GOCSPX- ya29. nvapi- dckr_pat_"
)
_SURE = frozenset(_SURE_WORDS.split())
"""Beginnings that nothing else has."""


def tokens(text: str) -> Iterator[tuple[int, int]]:
    """Yield where keys of well-known services stand."""
    beginnings, bodies = _beginnings()
    done = 0
    for ((first, end),) in compiled(beginnings).spans(text):
        # The sign before it is no part of it.
        start = first + (not _is_alnum(text[first]))
        beginning = text[start:end]
        body = _body(bodies[beginning]).match(text, end)
        if start >= done and body and (beginning[1:2] != "k" or _is_drawn(body[0])):
            done = body.end()
            yield start, done
    for middle, before, after in _AROUND:
        at = text.find(middle)
        while at >= 0:
            end = at + len(middle)
            rest = after.match(text, end)
            if rest and (lead := before.search(text[max(0, at - _REACH) : at])):
                yield max(0, at - _REACH) + lead.start(1), rest.end()
            at = text.find(middle, end)


def begun_token(text: str) -> int | None:
    """Return where a key begins that the text does not finish; None if none does."""
    tail = max(0, len(text) - _LONGEST)
    for ((first, end),) in compiled(_beginnings()[0]).spans(text[tail:]):
        start = tail + first + (not _is_alnum(text[tail + first]))
        rest = text[tail + end :]
        is_sure = text[start : tail + end] in _SURE
        if rest and (is_sure or _is_drawn(rest)) and _BEGUN.fullmatch(text, start):
            return start
    return None


@cache
def _beginnings() -> tuple[str, dict[str, str]]:
    bodies = {one: body for names, body in _FORMS.items() for one in names.split()}
    # The longest first: one may begin with another.
    names = sorted(bodies, key=len, reverse=True)
    return f"(?:^|[^A-Za-z0-9_-])(?:{'|'.join(map(re.escape, names))})", bodies


@cache
def _body(pattern: str) -> "re.Pattern[str]":
    return re.compile(pattern)


def _is_alnum(character: str) -> bool:
    return character.isascii() and character.isalnum()


def _is_drawn(text: str) -> bool:
    """Return whether a text looks drawn at random, other than words joined by dashes."""
    return any(one.isdigit() or one.isupper() for one in text)
