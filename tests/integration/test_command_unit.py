"""sockguard unit: drop-ins that systemd accepts, and their comments about a unit's settings."""

import os
import signal
import subprocess
import sys

import command
import harness

PRIVATE_TMP = "= gives the service a private /tmp"
UNIT = """[Unit]
Description=Environment=LD_PRELOAD=/not/this
[Service]
ExecStart=/usr/bin/python3 -m app
"""


def system_service(group="@system-service"):
    """The system calls in a group of systemd's, and in the groups that it contains, sorted."""
    shown = subprocess.run(["systemd-analyze", "syscall-filter", group], check=True,
                           capture_output=True, text=True).stdout.splitlines()
    names = set()
    for line in map(str.strip, shown[1:]):
        if line.startswith("@"):
            names.update(system_service(line))
        elif line and not line.startswith("#"):
            names.add(line)
    return sorted(names)


class UnitCase(command.CommandCase):
    def unit(self, name="app", text=None, calls="~"):
        """The drop-in's comments and its other lines. text: the unit as systemctl prints it;
        calls: its SystemCallFilter=, as systemctl expands it.

        The real systemctl needs a running systemd, so a script of that name prints the text.
        """
        env = {"PATH": self.dir}
        if text is not None:
            self.write_executable("systemctl", f"""#!/bin/sh
case "$*" in
"--no-pager cat -- app.service") /bin/cat <<'END'
{text}END
;;
"--system --no-pager show --property=SystemCallFilter -- app.service")
    echo "SystemCallFilter={calls}" ;;
*) exit 1 ;;
esac
""")
        ended = self.sockguard("unit", name, env=env)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        lines = ended.stdout.splitlines()
        comments = [line for line in lines if line.startswith("#")]
        return "\n".join(comments), [line for line in lines if line not in comments]

    def assert_mentioned(self, words, *settings):
        comments, _ = self.unit(text=UNIT + "\n".join(settings) + "\n")
        self.assertRegex(comments, words)

    def assert_not_mentioned(self, words, *settings):
        """A test that calls this also calls assert_mentioned() with the same words, so that it
        fails if the command words its comment differently."""
        comments, _ = self.unit(text=UNIT + "\n".join(settings) + "\n")
        self.assertNotRegex(comments, words)


class DropIn(UnitCase):
    def test_settings_of_the_drop_in(self):
        for text in (None, UNIT):
            _, lines = self.unit(text=text)
            self.assertEqual(lines,
                             ["[Service]", f"Environment=LD_PRELOAD={harness.LIBRARY}"])

    def test_installation_instructions(self):
        comments, _ = self.unit()
        self.assertIn("/etc/systemd/system/app.service.d", comments)
        self.assertIn("systemctl daemon-reload", comments)

    def test_a_unit_that_systemctl_does_not_show(self):
        self.assertIn("cannot show the unit", self.unit()[0])
        self.assertNotIn("cannot show the unit", self.unit(text=UNIT)[0])

    def test_a_parent_that_ignores_sigchld(self):
        """Some launchers ignore SIGCHLD. waitpid(2) then fails with ECHILD."""
        self.write_executable("systemctl", f"#!/bin/sh\n/bin/cat <<'END'\n{UNIT}END\n")
        ended = self.sockguard("unit", "app", env={"PATH": self.dir},
                               preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertNotIn("cannot show the unit", ended.stdout)

    def test_a_systemctl_that_fails(self):
        """The command does not use what systemctl printed before it failed."""
        self.write_executable(
            "systemctl", "#!/bin/sh\necho '[Service]\nRuntimeDirectory=app'\nexit 1\n")
        ended = self.sockguard("unit", "app", env={"PATH": self.dir})
        self.assertIn("cannot show the unit", ended.stdout)
        self.assertNotIn("RuntimeDirectory", ended.stdout)

    def test_systemd_accepts_the_drop_in(self):
        os.mkdir(self.dir + "/app.service.d")
        self.write_file("app.service", UNIT.replace("Description=", "Description=of ")
                        .replace("-m app", "-V"))
        with open(self.dir + "/app.service.d/sockguard.conf", "w", encoding="utf-8") as file:
            file.write(self.sockguard("unit", "app.service").stdout)
        ended = self.run_program(["systemd-analyze", "verify", self.dir + "/app.service"])
        self.assertNotIn("sockguard.conf", ended.stderr)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        with open(self.dir + "/app.service.d/sockguard.conf", "a", encoding="utf-8") as file:
            file.write("Nonsense\n")  # systemd does read the drop-in
        ended = self.run_program(["systemd-analyze", "verify", self.dir + "/app.service"])
        self.assertIn("sockguard.conf", ended.stderr)


class Names(UnitCase):
    def test_valid_names(self):
        for name in ("app", "app.service", "app@.service", "app@x-1.service", "a.b-c:d_e",
                     r"dev-a\x2db.service"):
            comments, _ = self.unit(name)
            full = name if name.endswith(".service") else name + ".service"
            self.assertIn(f" {full} ", comments)

    def test_invalid_names(self):
        for name in ("", "a/b", "../app.service", "a b", "a\nb", "-app", "@.service", ".service",
                     "über", 256 * "a", "app%i"):
            self.assert_usage_error("unit", "--", name)

    def test_a_unit_that_starts_no_program(self):
        for name in ("app.socket", "app.timer", "app.mount", "multi-user.target"):
            self.assertIn("service", self.assert_usage_error("unit", name))

    def test_two_units(self):
        self.assert_usage_error("unit", "app", "other")


class Settings(UnitCase):
    def test_unit_without_other_settings(self):
        comments, _ = self.unit(text=UNIT)
        self.assertEqual(len(comments.splitlines()), 4, comments)

    def test_other_preloaded_libraries_are_kept(self):
        for line in ("Environment=LD_PRELOAD=/lib/a.so", 'Environment="LD_PRELOAD=/lib/a.so"',
                     "Environment=A=b LD_PRELOAD=/lib/a.so C=d"):
            comments, lines = self.unit(text=f"{UNIT}{line}\n")
            self.assertIn("already sets LD_PRELOAD=/lib/a.so", comments)
            self.assertEqual(lines[1],
                             f"Environment=LD_PRELOAD={harness.LIBRARY}:/lib/a.so")

    def test_the_guard_is_not_preloaded_twice(self):
        _, lines = self.unit(text=f"{UNIT}Environment=LD_PRELOAD=/old/libsockguard.so:/a.so\n")
        self.assertEqual(lines[1], f"Environment=LD_PRELOAD={harness.LIBRARY}:/a.so")

    def test_address_families(self):
        netlink, unix = "does not allow AF_NETLINK", "does not allow AF_UNIX"
        self.assert_mentioned(netlink, "RestrictAddressFamilies=AF_UNIX AF_INET")
        self.assert_mentioned(netlink, "RestrictAddressFamilies=~AF_NETLINK")
        self.assert_mentioned(unix, "RestrictAddressFamilies=AF_INET AF_NETLINK")
        self.assert_mentioned(unix, "RestrictAddressFamilies=~AF_UNIX")
        self.assert_not_mentioned("does not allow", "RestrictAddressFamilies=AF_UNIX AF_NETLINK")
        self.assert_not_mentioned("does not allow", "RestrictAddressFamilies=~AF_INET")
        self.assert_not_mentioned("does not allow", "RestrictAddressFamilies=AF_INET",
                                  "RestrictAddressFamilies=")

    def assert_forbids(self, calls, *forbidden):
        comments, lines = self.unit(text=UNIT, calls=calls)
        wanted = [f"#SystemCallFilter={' '.join(forbidden)}"] if forbidden else []
        self.assertEqual([line for line in comments.splitlines()
                          if line.startswith("#SystemCallFilter=")], wanted)
        self.assertEqual("SystemCallFilter= does not allow" in comments, bool(forbidden), comments)
        self.assertEqual(len(lines), 2, lines)

    def test_system_calls_that_are_forbidden(self):
        self.assert_forbids("~statx", "statx")
        self.assert_forbids("~adjtimex kcmp pwrite64:EPERM statx:kill swapon",
                            "kcmp", "pwrite64", "statx")
        self.assert_forbids("~statx2 xstatx rename")  # similar names
        self.assert_forbids("~")
        self.assert_forbids("")

    def test_system_calls_that_are_allowed(self):
        whole = " ".join(system_service())
        self.assert_forbids(whole)
        self.assert_forbids(whole.replace(" statx ", " ").replace(" kcmp ", " "), "kcmp", "statx")
        self.assert_forbids(whole.replace(" statx ", " statx:kill "), "statx")
        self.assert_forbids(whole.replace(" statx ", " statx:EPERM "))

    def test_system_call_filter_comes_from_systemctl_show(self):
        """The command reads SystemCallFilter= only from systemctl show, which expands groups."""
        self.assert_not_mentioned("SystemCallFilter", "SystemCallFilter=read")
        comments, _ = self.unit(text=UNIT, calls="read")
        self.assertIn("SystemCallFilter", comments)

    def test_a_private_tmp(self):
        for setting in ("PrivateTmp", "DynamicUser"):
            for value in ("yes", "true", "1", "on", "True"):
                self.assert_mentioned(PRIVATE_TMP, f"{setting}={value}")
            for value in ("no", "0", ""):
                self.assert_not_mentioned(PRIVATE_TMP, f"{setting}=yes", f"{setting}={value}")

    def test_runtime_directory_and_root_directory(self):
        self.assert_mentioned("RuntimeDirectory=: when a unit that uses this directory stops",
                              "RuntimeDirectory=app")
        self.assert_mentioned("RootDirectory=", "RootDirectory=/srv")

    def test_settings_that_make_no_difference(self):
        comments, _ = self.unit(text=UNIT + "NoNewPrivileges=yes\nProtectSystem=strict\n")
        self.assertEqual(len(comments.splitlines()), 4, comments)

    def test_other_sections(self):
        self.assert_mentioned("RuntimeDirectory", "RuntimeDirectory=app")
        self.assert_not_mentioned("RuntimeDirectory", "[Install]", "RuntimeDirectory=app")

    def test_an_earlier_drop_in(self):
        """The command ignores the lines of its earlier drop-in, which the new one replaces."""
        earlier = UNIT + "# /etc/systemd/system/app.service.d/sockguard.conf\n" + \
            self.sockguard("unit", "app").stdout.replace(harness.LIBRARY,
                                                         "/old/libsockguard.so") + \
            "# /etc/systemd/system/app.service.d/z.conf\n[Service]\nRuntimeDirectory=app\n"
        comments, lines = self.unit(text=earlier)
        self.assertNotIn("already", comments)
        self.assertIn("RuntimeDirectory=", comments)
        self.assertEqual(lines, ["[Service]", f"Environment=LD_PRELOAD={harness.LIBRARY}"])


if __name__ == "__main__":
    sys.exit(harness.main())
