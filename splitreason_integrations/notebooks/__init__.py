"""Replies in notebooks: text by author, spans, share and cost, also while it is written."""

from splitreason_integrations.notebooks.replies import load_ipython_extension, show
from splitreason_integrations.notebooks.streams import live, live_async

__all__ = ["live", "live_async", "load_ipython_extension", "show"]
