# The protocol's model. Run by hand, tests/model/run, for it takes minutes and wants spin.
EXTRA_DIST += tests/model/run tests/model/sockguard.pml
