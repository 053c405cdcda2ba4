"""Values without I/O: what comes next, what it may cost, when a span opens, whom to ask."""
