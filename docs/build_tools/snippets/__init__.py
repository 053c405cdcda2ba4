"""Snippets of pages and docstrings: each is run or checked, and shows what the run printed."""
