# The protocol's models, for Spin. tests/model/run --all does more, and takes longer.
TESTS += tests/model/run
EXTRA_DIST += tests/model/run tests/model/sockguard.pml tests/model/shared.pml \
	tests/model/links.pml
