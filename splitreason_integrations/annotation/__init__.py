"""Annotation of hard spans in reasoning traces of any domain; heavy imports stay inside."""
