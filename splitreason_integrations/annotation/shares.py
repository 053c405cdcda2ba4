"""Which spans are kept so that they hold a share of all tokens: those of the highest ranks."""

import math
from collections.abc import Iterable

from splitreason_integrations.annotation.annotators import Found
from splitreason_integrations.checks import check_number

_BINS = 20_000
_LOWEST, _HIGHEST = math.log(1e-6), math.log(1e6)
_WIDTH = (_HIGHEST - _LOWEST) / _BINS


def rank_for(share: float, found: Iterable[Found]) -> float:
    """Return the rank from which on spans hold that share of the tokens, as nearly as they can.

    Adds up tokens by rank, of a size that does not grow with the traces.
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
    """Return a rank's bin: each a fraction of a percent wide; 0 holds what is hardly above zero."""
    if rank <= 0:
        return 0
    return max(0, min(_BINS, int((math.log(rank) - _LOWEST) / _WIDTH)))
