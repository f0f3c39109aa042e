# make test and make demo work on a fresh clone with Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin
RUN_DIR ?= runs

# Which only motion tells apart; as many more make a harder set.
MOTIONS := move_left,move_right,turn_clockwise,turn_counter
MORE_MOTIONS := move_left,move_right,move_up,move_down,turn_clockwise,turn_counter,slow,fast

.PHONY: demo family test lint unit test-long test-ray utd utd-seeds utd-race jhmdb-race generated-race utd-budgets recipe \
    supernet-ranks two-stream-ablations planted bench-search bench-modes bench-tabular bench-processes bench-latency bench-factors \
    bench-op bench-train bench-small bench-two-streams bench-infer bench-data bench-wait fair-windows profile-step \
    sanitize official-weights clean

# Videos whose classes only motion tells apart, then the whole job on them; again, it goes on where it was stopped.
demo: .venv/package
	test -f $(RUN_DIR)/demo/data/train.csv || $(BIN)/vidnas data generate $(RUN_DIR)/demo/data \
	    --classes $(MOTIONS) --train 150 --test 60 --size 48
	$(BIN)/vidnas run --config demo --data $(RUN_DIR)/demo/data --target-macs 4M --out $(RUN_DIR)/demo/run --resume

# A search on a supernet with both baselines, and what it holds beside the network found: a family, the front, and how far
# its order of networks can be trusted. About 15 minutes on two cores.
family: .venv/package
	test -f $(RUN_DIR)/family/data/train.csv || $(BIN)/vidnas data generate $(RUN_DIR)/family/data \
	    --classes $(MORE_MOTIONS) --train 100 --test 25 --size 48 --frames 16
	$(BIN)/vidnas run --config benchmarks/family.yaml --data $(RUN_DIR)/family/data --target-macs 4M \
	    --out $(RUN_DIR)/family/run --resume --baselines random,evolution
	$(BIN)/vidnas derive $(RUN_DIR)/family/run --targets 2.5M,4M,7M --inherit --scratch
	$(BIN)/vidnas pareto $(RUN_DIR)/family/run
	$(BIN)/vidnas rank $(RUN_DIR)/family/run -n 20
	$(BIN)/python benchmarks/family.py $(RUN_DIR)/family/run --out benchmarks/results/family.json

test: lint unit

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Two workers of one thread each: tests are many small networks, which do not use two threads well. Who is done takes tests
# of the other, as some take a minute.
unit: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

# More random networks and moments of death than `make test` takes.
test-long: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m long

# Trials on a Ray cluster of this machine, whose workers are killed and stopped: a minute, and 79 MB to download.
test-ray: .venv/dev
	$(BIN)/pip install --quiet -e '.[ray]'
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/engine/trials/test_ray_executor.py

# make utd UTD=DIR, with UTD-MHAD as benchmarks/utd.py describes
utd: .venv/package
	GOMP_SPINCOUNT=3000 $(BIN)/python benchmarks/utd.py --data $(UTD) --out $(RUN_DIR)/utd --result benchmarks/results/utd.json

utd-seeds: .venv/package
	GOMP_SPINCOUNT=3000 $(BIN)/python benchmarks/utd.py --data $(UTD) --out $(RUN_DIR)/utd --seeds 0 1 2 --random 3 \
	    --result benchmarks/results/utd_seeds.json

# make utd-race UTD=DIR, make jhmdb-race JHMDB=DIR: what races find, against X3D and random networks; a night, resumable
utd-race: .venv/package
	GOMP_SPINCOUNT=3000 $(BIN)/python benchmarks/race_evidence.py --name utd --data $(UTD) \
	    --work $(RUN_DIR)/race --out benchmarks/results/utd_race.json $(OPTIONS)

jhmdb-race: .venv/package
	GOMP_SPINCOUNT=3000 $(BIN)/python benchmarks/race_evidence.py --name jhmdb --data $(JHMDB) \
	    --work $(RUN_DIR)/race --out benchmarks/results/jhmdb_race.json $(OPTIONS)

generated-race: .venv/package
	test -f $(RUN_DIR)/motions/train.csv || $(BIN)/vidnas data generate $(RUN_DIR)/motions \
	    --classes $(MOTIONS) --train 100 --test 100 --size 48
	GOMP_SPINCOUNT=3000 $(BIN)/python benchmarks/race_evidence.py --name generated --data $(RUN_DIR)/motions --trials 20 \
	    --work $(RUN_DIR)/race --out benchmarks/results/generated_race.json $(OPTIONS)

# make utd-budgets UTD=DIR: what larger networks and clips reach; hours, resumable
utd-budgets: .venv/package
	GOMP_SPINCOUNT=3000 $(BIN)/python benchmarks/budgets.py --data $(UTD) $(OPTIONS) --work $(RUN_DIR)/budgets \
	    --out benchmarks/results/utd_budgets.json

# make supernet-ranks DATA=DIR: how far supernets of several lengths rank networks as trainings do; hours, resumable
supernet-ranks: .venv/package
	GOMP_SPINCOUNT=3000 $(BIN)/python benchmarks/supernet_ranks.py --data $(DATA) $(OPTIONS) --work $(RUN_DIR)/ranks \
	    --out benchmarks/results/supernet_ranks.json

# make two-stream-ablations DATA=DIR: Auto-TSNet's Tables 4 and 6 to 9 at a size for CPUs; hours, resumable
two-stream-ablations: .venv/package
	GOMP_SPINCOUNT=3000 $(BIN)/python benchmarks/two_stream_ablations.py --data $(DATA) $(OPTIONS) \
	    --work $(RUN_DIR)/ablations --out benchmarks/results/two_stream_ablations.json

# make recipe DATA=DIR: what each choice of the training recipe gives on folds of a training list; hours, resumable
recipe: .venv/package
	GOMP_SPINCOUNT=3000 $(BIN)/python benchmarks/recipe.py --data $(DATA) $(OPTIONS) --work $(RUN_DIR)/recipe \
	    --out benchmarks/results/recipe.json

# Does the search find what is known beforehand? One thread, about 25 minutes.
planted: .venv/package
	$(BIN)/python benchmarks/planted_problems.py --out benchmarks/results/planted.json
	$(BIN)/python benchmarks/planted_two_streams.py --out benchmarks/results/planted_two_streams.json

bench-search: .venv/package
	$(BIN)/python benchmarks/supernet_cost.py --out benchmarks/results/supernet_cost.json

# Look-up, range, draws and fronts of additive costs; a minute, in CPU seconds.
bench-factors: .venv/package
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/factor_graphs.py $(OPTIONS) --out benchmarks/results/factor_graphs.json

# make bench-tabular TABLE=FILE, with NAS-Bench-Macro's nas-bench-macro_cifar10.json or another table of that form
bench-tabular: .venv/package
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/tabular.py $(TABLE) $(OPTIONS) --out benchmarks/results/tabular.json

# What each mode of the search is worth beside the default: 20 minutes on one thread; again, it goes on where it was stopped.
bench-modes: .venv/package
	GOMP_SPINCOUNT=3000 $(BIN)/python benchmarks/search_modes.py --work $(RUN_DIR)/search_modes \
	    --out benchmarks/results/search_modes.json

# Fair, cyclic and naive channel windows, eight seeds each: half an hour on one thread.
fair-windows: .venv/package
	GOMP_SPINCOUNT=3000 $(BIN)/python benchmarks/fair_windows.py --work $(RUN_DIR)/fair_windows \
	    --out benchmarks/results/fair_windows.json

# The C++ kernels under AddressSanitizer and UndefinedBehaviorSanitizer, against plain loops; results of 16 KiB and more
# are streamed, so that some of each kind are.
sanitize:
	mkdir -p build
	for isa in portable avx2 avx512; do \
	    g++ -std=c++17 -O1 -g -fopenmp -fsanitize=address,undefined -fno-sanitize-recover=all \
	        -DISA=$$isa -DVIDNAS_STREAMED=16384 -Ividnas/nn/native tests/nn/native_check.cpp \
	        vidnas/nn/native/norm_step.cpp vidnas/nn/native/chain.cpp vidnas/nn/native/$$isa.cpp -o build/check_$$isa && \
	    build/check_$$isa || exit 1; done

# Steps of a search: one process with two threads against two with one each, on an otherwise idle machine of two cores.
bench-processes: .venv/package
	$(BIN)/python benchmarks/processes.py $(OPTIONS) --out benchmarks/results/search_processes.json

# From here to bench-wait an otherwise idle machine is wanted.
bench-op: .venv/dev
	$(BIN)/python benchmarks/depthwise_op.py $(OPTIONS) --out benchmarks/results/depthwise_op.json

bench-train: .venv/dev
	$(BIN)/python benchmarks/training_step.py $(OPTIONS) --out benchmarks/results/training_step.json

# Training steps of networks of 20 MMACs; in CPU seconds, a minute.
bench-small: .venv/package
	$(BIN)/python benchmarks/small_step.py $(OPTIONS) --out benchmarks/results/small_step.json

# Training steps and inference of two streams, beside one stream and the streams alone, and memory of their search; in
# CPU seconds, ten minutes.
bench-two-streams: .venv/package
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/two_stream_speed.py $(OPTIONS) --out benchmarks/results/two_streams.json

# Which layers the time of a training step goes to.
profile-step: .venv/package
	$(BIN)/python benchmarks/step_profile.py $(OPTIONS) --out benchmarks/results/step_profile.json

bench-infer: .venv/dev
	$(BIN)/python benchmarks/inference.py $(OPTIONS) --out benchmarks/results/inference.json

# How well latency tables predict whole networks; about 15 minutes.
bench-latency: .venv/dev
	GOMP_SPINCOUNT=3000 $(BIN)/python benchmarks/latency.py $(OPTIONS) --out benchmarks/results/latency.json

# Milliseconds per clip from videos and from small copies of them, on one core of an otherwise idle machine.
bench-data: .venv/dev
	$(BIN)/python benchmarks/data_loading.py $(OPTIONS) --out benchmarks/results/data_loading.json

# The share of time that a training of small clips waits for them; a few minutes.
bench-wait: .venv/package
	GOMP_SPINCOUNT=3000 $(BIN)/python benchmarks/data_wait.py $(OPTIONS) --out benchmarks/results/data_wait.json

# make official-weights FILES="X3D_S.pyth x3d_l.pyth"
official-weights: .venv/dev
	$(BIN)/python benchmarks/official_weights.py $(FILES)

BUILT_FROM := pyproject.toml setup.py $(wildcard vidnas/nn/native/*.cpp vidnas/nn/native/*.h)

.venv/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

.venv/package: .venv/python $(BUILT_FROM)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

# Not on top of .venv/package: the kernels would be compiled twice.
.venv/dev: .venv/python $(BUILT_FROM)
	$(BIN)/python -m pip install --quiet --editable ".[dev,export,peers]"
	touch .venv/package $@

clean:
	rm -rf .venv build *.egg-info
