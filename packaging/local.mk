# Distributors build packages from these files, and so does scripts/package.
EXTRA_DIST += \
	debian/changelog \
	debian/control \
	debian/copyright \
	debian/libsockguard.docs \
	debian/libsockguard.install \
	debian/libsockguard.lintian-overrides \
	debian/libsockguard.triggers \
	debian/rules \
	debian/sockguard.install \
	debian/source/format \
	debian/tests/control \
	debian/tests/smoke \
	packaging/libsockguard.rpmlintrc \
	packaging/libsockguard.spec \
	packaging/loader.sh
