"""What developers run; `python scripts/dev.py help` lists it."""
