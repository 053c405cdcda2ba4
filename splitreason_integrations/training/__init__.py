"""Training of the embedded pair and annotation of hard spans; heavy imports stay inside."""
