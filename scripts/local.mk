EXTRA_DIST += \
	.clang-tidy \
	scripts/build.sh \
	scripts/check \
	scripts/demo \
	scripts/documentation.py \
	scripts/fuzz \
	scripts/machine \
	scripts/package \
	scripts/packages.sh \
	scripts/portability \
	scripts/root.sh
