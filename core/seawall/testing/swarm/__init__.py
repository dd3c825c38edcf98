"""Many seeds, each a scenario of its own, played in the simulator and judged by every checker."""
