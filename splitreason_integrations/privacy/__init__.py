"""What must not leave the process: finding it, hiding it, restoring it."""
