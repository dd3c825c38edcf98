# Short names for scripts/dev.py. PYTHON=... chooses the interpreter, ARGS=... is passed on.
PYTHON ?= python3
DEV = $(PYTHON) scripts/dev.py

.PHONY: oldest wheel help setup test coverage demo check bench soak behaviour docs pictures fuzz interleave mutants prove-bugs prove

help:  ## what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1	\2/p' Makefile

setup:  ## make .venv; the others do it when needed
	@$(DEV) setup

test:  ## run the tests (ARGS go to pytest)
	@$(DEV) test $(ARGS)

coverage:  ## lines and branches of the core that no test takes; any fails (ARGS: tests to run instead)
	@$(DEV) coverage $(ARGS)

demo:  ## bare and mounted clients side by side while servers misbehave
	@$(DEV) demo $(ARGS)

check:  ## format, lint, types, import contracts, docs blocks (ARGS name some of them)
	@$(DEV) check $(ARGS)

bench:  ## what a request costs, beside the peers (ARGS go to the benchmarks)
	@$(DEV) bench $(ARGS)

soak:  ## threads and tasks against servers that misbehave, for MINUTES (60): does anything grow or stay behind?
	@$(DEV) soak $(or $(MINUTES),60) $(ARGS)

behaviour:  ## policies and a host in trouble, simulated: load, good answers, recovery (ARGS: --seed N)
	@$(DEV) behaviour $(ARGS)

docs:  ## the documentation as a site, in site/
	@$(DEV) docs $(ARGS)

pictures:  ## take the pictures of the health page in docs/ anew
	@$(DEV) pictures

fuzz:  ## what reads outside data, fuzzed for a while (ARGS: seconds for each, names)
	@$(DEV) fuzz $(ARGS)

mutants:  ## change the core one step at a time and see whether a test minds (ARGS: modules, tests)
	@$(DEV) mutants $(ARGS)

interleave:  ## the ways in which two threads can come together, under frontrun (ARGS: names of scenes)
	@$(DEV) interleave $(ARGS)

prove-bugs:  ## make bugs that others had, one at a time, and see what catches them (ARGS: names)
	@$(DEV) prove-bugs $(ARGS)

prove:  ## run the long proofs, half an hour or more (ARGS name some of them)
	@$(DEV) prove $(ARGS)

oldest:  ## the mounts' tests on the oldest clients that are allowed
	@$(DEV) oldest $(ARGS)

wheel:  ## build it, install it elsewhere, and see that it works
	@$(DEV) wheel
