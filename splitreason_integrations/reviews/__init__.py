"""A queue of questions in a file: asked by one process, answered and continued by others.

A question is asked once and answered once, and its request is continued by one worker.
"""

from splitreason_integrations.reviews.claims import Claim
from splitreason_integrations.reviews.entries import Entry, Status
from splitreason_integrations.reviews.queueing import ReviewQueue

__all__ = ["Claim", "Entry", "ReviewQueue", "Status"]
