EXTRA_DIST += \
	.clang-tidy \
	scripts/build.sh \
	scripts/check \
	scripts/demo \
	scripts/packages.sh \
	scripts/portability
	scripts/fuzz \
	scripts/packages.sh
