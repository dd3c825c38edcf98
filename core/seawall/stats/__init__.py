"""Measuring, without opinions: nothing in here knows a policy."""
