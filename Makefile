# The front door. Everything happens in build/; the presets are in CMakePresets.json.
.PHONY: all demo test check bench format lint tidy fuzz long overwrite overwrite-hour clean

all: build/release/build.ninja
	cmake --build --preset release

build/release/build.ninja:
	@command -v cmake >/dev/null || { echo "cmake is missing: run tools/install-deps first"; exit 1; }
	cmake --preset release

# The flights of New York in 2013: import, ask, correct, expire, kill, ask again.
demo:
	tools/install-deps
	@$(MAKE) --no-print-directory all
	tools/demo

# The whole matrix: compilers, sanitizers, scalar and portable kernels.
test:
	tools/install-deps
	tools/check-matrix

# The suite of the release build alone.
check: all
	ctest --preset release

bench:
	tools/install-deps --bench
	@$(MAKE) --no-print-directory all
	bench/run

format:
	git ls-files '*.c' '*.h' '*.cpp' | xargs clang-format -i

lint: all
	tools/lint

tidy:
	python3 tools/tidy.py

# Each fuzzer for some minutes: make fuzz MINUTES=10
MINUTES ?= 1
fuzz:
	tools/fuzz $(MINUTES)

# The campaigns (crashes, models) in their long form: hours.
long: all
	tools/check-matrix --long

# A store that overwrites its keys for two minutes, and for an hour: how large its file gets.
overwrite overwrite-hour: all
	cmake --build --preset release --target test_overwrite
	COLONNADE_TEST_SCALE=$(if $(filter overwrite,$@),12,360) build/release/tests/model/test_overwrite \
	  --filter 'overwrite/a_store_that_overwrites_its_keys_stays_small'

clean:
	rm -rf build
