# scripts/package uses these in a clean root.
EXTRA_DIST += \
	tests/package/line.service \
	tests/package/line.target
