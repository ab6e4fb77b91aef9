EXTRA_DIST += \
	tests/machine/boot.sh \
	tests/machine/machine.py
