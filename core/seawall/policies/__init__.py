"""Deciding. One file per idea; none imports another; all are pure: (state, event, now, u) → decision."""
