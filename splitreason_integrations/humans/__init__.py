"""People who are asked about a span, and the ways of asking them."""
