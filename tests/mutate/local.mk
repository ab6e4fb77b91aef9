# scripts/mutate changes the sources and checks whether a test notices.
mutate_tests = tests/mutate/test_mutate.py
TESTS += $(mutate_tests)
EXTRA_DIST += $(mutate_tests) scripts/mutate tests/mutate/explained tests/mutate/mutants.py \
	tests/mutate/mutate.py
