"""What a run tells experiment trackers: beside it, and never at its cost."""
