"""What a server or an engine refused, and when it is tried again.

Servers are updated, and a refusal may have been misread: nothing is given up for good.
"""

import time

_FIRST_S = 600.0
_LONGEST_S = 86_400.0


class Refusal:
    """A while in which something is not tried: longer each time that it is refused again."""

    def __init__(self) -> None:
        self._until_s = 0.0
        self._wait_s = 0.0

    @property
    def holds(self) -> bool:
        """Whether it is not to be tried now."""
        return time.monotonic() < self._until_s

    def begin(self) -> None:
        """Note that it was refused; again while that holds, as by requests at one time, is once."""
        if not self.holds:
            self._wait_s = min(max(_FIRST_S, 2 * self._wait_s), _LONGEST_S)
            self._until_s = time.monotonic() + self._wait_s

    def begin_for_good(self) -> None:
        """Note that it is never tried again: no refusal would say that it is still not heeded."""
        self._until_s = float("inf")
