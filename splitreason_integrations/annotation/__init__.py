"""Annotate hard spans in reasoning traces of any domain; heavy imports happen on use."""
