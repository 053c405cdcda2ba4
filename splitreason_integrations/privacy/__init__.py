"""Redaction: finding private texts, hiding them from remote models, restoring them."""
