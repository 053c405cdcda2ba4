"""Questions that wait for people in a file: asked here, answered there, gone on with elsewhere.

A question is asked once, answered once and gone on with by one worker alone.
"""

from splitreason_integrations.reviews.claims import Claim
from splitreason_integrations.reviews.entries import Entry, Status
from splitreason_integrations.reviews.queueing import ReviewQueue

__all__ = ["Claim", "Entry", "ReviewQueue", "Status"]
