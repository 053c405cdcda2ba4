"""The public import path of the reviewer who asks at a terminal."""

from splitreason_integrations.humans.console import ConsoleReviewer

__all__ = ["ConsoleReviewer"]
