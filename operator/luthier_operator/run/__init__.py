"""What the runs of all kinds have in common."""
