"""What to answer when we may not, or could not, send: one file per step."""
