EXTRA_DIST += \
	tests/containers/engine.py \
	tests/containers/test_containers.py
