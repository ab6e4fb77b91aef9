EXTRA_DIST += \
	.clang-tidy \
	scripts/build.sh \
	scripts/check \
	scripts/containers \
	scripts/demo \
	scripts/documentation.py \
	scripts/fuzz \
	scripts/machine \
	scripts/package \
	scripts/packages.sh \
	scripts/portability \
	scripts/root.sh \
	scripts/spelling-ignore \
	scripts/stopwatch \
	scripts/style-words \
	scripts/style.py \
	scripts/suite.sh
