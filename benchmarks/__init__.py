"""What a request through seawall costs, beside its peers: one file per question, ratios rather than times.

`python -m benchmarks [names] [--quick]`. The goals stand in `__main__.py`'s last table; nothing here ever
fails a build, because a shared machine's figures wander by tens of percent.
"""
