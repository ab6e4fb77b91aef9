EXTRA_DIST += \
	.clang-tidy \
	scripts/build.sh \
	scripts/check \
	scripts/demo \
	scripts/documentation.py \
	scripts/fuzz \
	scripts/package \
	scripts/packages.sh \
	scripts/portability
