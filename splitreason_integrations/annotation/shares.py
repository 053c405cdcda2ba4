"""The score from which on spans are kept so that they hold a share of all tokens."""

import math
from collections.abc import Iterable

from splitreason_integrations.annotation.annotators import Found
from splitreason_integrations.checks import check_number

_BINS = 37_000
_WIDTH = 0.001
_NEAREST_TO_ONE = 1.0 - 2.0**-53


class ShareThreshold:
    """Adds up tokens by score; of a size that does not grow with the traces."""

    def __init__(self, share: float) -> None:
        check_number("share", share, most=1)
        self._share = share
        self._tokens = [0] * (_BINS + 1)
        self._all = 0

    def add(self, found: Found) -> None:
        """Add the spans of one trace."""
        self._all += found.of_tokens
        for span, tokens in zip(found.spans, found.tokens, strict=True):
            self._tokens[_bin(span.score or 0.0)] += tokens

    def min_score(self) -> float:
        """Return the score at which the share of tokens comes nearest to the one asked for."""
        wanted, kept, best = self._share * self._all, 0, (self._share * self._all, _BINS + 1)
        for at in range(_BINS, 0, -1):
            kept += self._tokens[at]
            best = min(best, (abs(wanted - kept), at))
            if kept > wanted:
                break
        return _score(best[1])


def threshold_for(share: float, found: Iterable[Found]) -> float:
    """Return the score from which on spans hold that share of the tokens."""
    threshold = ShareThreshold(share)
    for one in found:
        threshold.add(one)
    return threshold.min_score()


def _bin(score: float) -> int:
    """Return a score's bin: fine near 1, where scores of long steps lie close together."""
    return min(_BINS, int(-math.log1p(-min(score, _NEAREST_TO_ONE)) / _WIDTH))


def _score(at: int) -> float:
    """Return the lowest score of a bin, less than rounding can add to it; 2 where none is kept."""
    return 2.0 if at > _BINS else -math.expm1(-(at - 1e-6) * _WIDTH)
