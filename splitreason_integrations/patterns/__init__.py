"""Patterns that come from outside, on an engine whose time is linear in the text.

Python's `re` can take exponential time, and holds the interpreter meanwhile. Patterns that this
package wrote may use `re`; what a user, a file or a model brings goes through `compiled`.
"""

from splitreason_integrations.patterns.compiled import Found, Pattern, compiled, is_expression

__all__ = ["Found", "Pattern", "compiled", "is_expression"]
