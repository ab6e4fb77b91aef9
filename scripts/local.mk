EXTRA_DIST += \
	scripts/build.sh \
	scripts/check \
	scripts/demo \
	scripts/packages.sh
