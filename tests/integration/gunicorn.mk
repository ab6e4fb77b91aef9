TESTS += tests/integration/test_gunicorn.py
EXTRA_DIST += \
	tests/integration/gunicorn_gate.py \
	tests/integration/test_gunicorn.py \
	tests/integration/wsgi_app.py
