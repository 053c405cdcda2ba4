"""How long a test may wait. A limit only ends what hangs: a slow machine must not fail a test."""

HANGS_S = 600.0
"""For child processes and awaited tasks: at least ten times what an idle machine takes."""
END_S = 60.0
"""For what ends within a second or so on an idle machine."""
