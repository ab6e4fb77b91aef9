TESTS += tests/integration/test_servers.py
EXTRA_DIST += \
	docs/compatibility.md \
	scripts/matrix \
	tests/integration/test_servers.py \
	tests/matrix/clients.py \
	tests/matrix/document.py \
	tests/matrix/keeper.py \
	tests/matrix/kernel.py \
	tests/matrix/matrix.py \
	tests/matrix/programs/collector.go \
	tests/matrix/programs/static.c \
	tests/matrix/server.py \
	tests/matrix/servers/__init__.py \
	tests/matrix/servers/application.py \
	tests/matrix/servers/databases.py \
	tests/matrix/servers/desktop.py \
	tests/matrix/servers/mail.py \
	tests/matrix/servers/system.py \
	tests/matrix/servers/web.py \
	tests/matrix/situations.py \
	tests/matrix/units.py
