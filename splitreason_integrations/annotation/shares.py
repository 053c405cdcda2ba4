"""Choose the spans of highest rank that together hold a given share of all tokens."""

import math
from collections.abc import Iterable

from splitreason_integrations.annotation.annotators import Found
from splitreason_integrations.checks import check_number

_BINS = 20_000
_LOWEST, _HIGHEST = math.log(1e-6), math.log(1e6)
_WIDTH = (_HIGHEST - _LOWEST) / _BINS


def rank_for(share: float, found: Iterable[Found]) -> float:
    """Return the lowest rank of spans that together hold nearly that share of the tokens.

    Sums tokens in bins of rank, in constant memory.
    """
    check_number("share", share, most=1)
    tokens, of = [0] * (_BINS + 1), 0
    for one in found:
        of += one.of_tokens
        for rank, count in zip(one.ranks, one.tokens, strict=True):
            tokens[_bin(rank)] += count
    wanted, kept, nearest, best = share * of, 0, share * of, _BINS + 1
    for at in range(_BINS, 0, -1):
        kept += tokens[at]
        if abs(wanted - kept) < nearest:
            nearest, best = abs(wanted - kept), at
        if kept > wanted:
            break
    return math.exp(_LOWEST + (best - 1e-6) * _WIDTH)


def _bin(rank: float) -> int:
    """Return the bin of a rank; a bin is a fraction of a percent wide, and bin 0 is near zero."""
    if rank <= 0:
        return 0
    return max(0, min(_BINS, int((math.log(rank) - _LOWEST) / _WIDTH)))
