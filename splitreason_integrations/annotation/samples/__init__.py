"""Sample traces of three domains with known hard spans."""

import random
from collections.abc import Iterator
from typing import Any

from splitreason_integrations.annotation.samples import arithmetic, documents, support
from splitreason_integrations.checks import check_names

_CASES = {"support": support.CASES, "documents": documents.CASES}
DOMAINS = ("arithmetic", *_CASES)


def samples(domain: str, *, n: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield `n` traces as rows with `question` or `messages`, `trace`, `answer`, `gold_spans`.

    Raises:
        SettingError: There is no such domain.

    """
    check_names([domain], DOMAINS, what="domain of samples")
    if domain == "arithmetic":
        yield from arithmetic.rows(n=n, seed=seed)
        return
    cases = _CASES[domain]
    for at in range(n):
        rng = random.Random(f"{domain}/{seed}/{at}")
        case = cases[at % len(cases)](rng)
        yield {"id": f"{domain}-{seed}-{at}", **case.row()}
