"""sockguard unit: drop-ins that systemd takes, and what is said of a unit's settings in them."""

import os
import re
import signal
import subprocess
import sys

import command
import harness

UNIT = """[Unit]
Description=Environment=LD_PRELOAD=/not/this
[Service]
ExecStart=/usr/bin/python3 -m app
"""


def system_service(group="@system-service"):
    """The names in a group of systemd's, those of the groups in it too, sorted."""
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
        """The drop-in's comments and its other lines. text: what systemctl shows of the unit;
        calls: its SystemCallFilter=, as systemctl shows it expanded.

        systemctl itself needs a running systemd, so another program of its name shows the text.
        """
        env = {"PATH": self.dir}
        if text is not None:
            self.executable("systemctl", f"""#!/bin/sh
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

    def assert_said(self, words, *settings):
        comments, _ = self.unit(text=UNIT + "\n".join(settings) + "\n")
        self.assertEqual(bool(re.search(words, comments)), True, comments)

    def assert_not_said(self, words, *settings):
        comments, _ = self.unit(text=UNIT + "\n".join(settings) + "\n")
        self.assertEqual(bool(re.search(words, comments)), False, comments)


class DropIn(UnitCase):
    def test_what_it_sets(self):
        for text in (None, UNIT):
            _, lines = self.unit(text=text)
            self.assertEqual(lines,
                             ["[Service]", f"Environment=LD_PRELOAD={harness.LIBRARY}"])

    def test_how_to_install_it(self):
        comments, _ = self.unit()
        self.assertIn("/etc/systemd/system/app.service.d", comments)
        self.assertIn("systemctl daemon-reload", comments)

    def test_a_unit_that_systemctl_does_not_show(self):
        self.assertIn("does not show the unit", self.unit()[0])
        self.assertNotIn("does not show the unit", self.unit(text=UNIT)[0])

    def test_a_parent_that_ignores_the_end_of_children(self):
        """As nohup-like launchers do: then wait(2) finds none."""
        self.executable("systemctl", f"#!/bin/sh\n/bin/cat <<'END'\n{UNIT}END\n")
        ended = self.sockguard("unit", "app", env={"PATH": self.dir},
                               preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertNotIn("does not show the unit", ended.stdout)

    def test_a_systemctl_that_fails(self):
        """What it printed before is not the unit."""
        self.executable("systemctl", "#!/bin/sh\necho '[Service]\nRuntimeDirectory=app'\nexit 1\n")
        ended = self.sockguard("unit", "app", env={"PATH": self.dir})
        self.assertIn("does not show the unit", ended.stdout)
        self.assertNotIn("RuntimeDirectory", ended.stdout)

    def test_systemd_takes_it(self):
        os.mkdir(self.dir + "/app.service.d")
        self.file("app.service", UNIT.replace("Description=", "Description=of ")
                  .replace("-m app", "-V"))
        with open(self.dir + "/app.service.d/sockguard.conf", "w", encoding="utf-8") as file:
            file.write(self.sockguard("unit", "app.service").stdout)
        ended = self.run_program(["systemd-analyze", "verify", self.dir + "/app.service"])
        self.assertNotIn("sockguard.conf", ended.stderr)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        with open(self.dir + "/app.service.d/sockguard.conf", "a", encoding="utf-8") as file:
            file.write("Nonsense\n")  # and it does look at the drop-in
        ended = self.run_program(["systemd-analyze", "verify", self.dir + "/app.service"])
        self.assertIn("sockguard.conf", ended.stderr)


class Names(UnitCase):
    def test_good(self):
        for name in ("app", "app.service", "app@.service", "app@x-1.service", "a.b-c:d_e",
                     r"dev-a\x2db.service"):
            comments, _ = self.unit(name)
            full = name if name.endswith(".service") else name + ".service"
            self.assertIn(f" {full} ", comments)

    def test_bad(self):
        for name in ("", "a/b", "../app.service", "a b", "a\nb", "-app", "@.service", ".service",
                     "über", 256 * "a", "app%i"):
            self.assert_misused("unit", "--", name)

    def test_what_starts_no_program(self):
        for name in ("app.socket", "app.timer", "app.mount", "multi-user.target"):
            self.assertIn("service", self.assert_misused("unit", name))

    def test_one_too_many(self):
        self.assert_misused("unit", "app", "other")


class Settings(UnitCase):
    def test_none(self):
        comments, _ = self.unit(text=UNIT)
        self.assertEqual(len(comments.splitlines()), 4, comments)

    def test_what_is_preloaded_already_is_kept(self):
        for line in ("Environment=LD_PRELOAD=/lib/a.so", 'Environment="LD_PRELOAD=/lib/a.so"',
                     "Environment=A=b LD_PRELOAD=/lib/a.so C=d"):
            comments, lines = self.unit(text=f"{UNIT}{line}\n")
            self.assertIn("sets LD_PRELOAD=/lib/a.so already", comments)
            self.assertEqual(lines[1],
                             f"Environment=LD_PRELOAD={harness.LIBRARY}:/lib/a.so")

    def test_the_guard_is_not_preloaded_twice(self):
        _, lines = self.unit(text=f"{UNIT}Environment=LD_PRELOAD=/old/libsockguard.so:/a.so\n")
        self.assertEqual(lines[1], f"Environment=LD_PRELOAD={harness.LIBRARY}:/a.so")

    def test_address_families(self):
        netlink, unix = "leaves out AF_NETLINK", "leaves out AF_UNIX"
        self.assert_said(netlink, "RestrictAddressFamilies=AF_UNIX AF_INET")
        self.assert_said(netlink, "RestrictAddressFamilies=~AF_NETLINK")
        self.assert_said(unix, "RestrictAddressFamilies=AF_INET AF_NETLINK")
        self.assert_said(unix, "RestrictAddressFamilies=~AF_UNIX")
        self.assert_not_said("leaves out", "RestrictAddressFamilies=AF_UNIX AF_NETLINK")
        self.assert_not_said("leaves out", "RestrictAddressFamilies=~AF_INET")
        self.assert_not_said("leaves out", "RestrictAddressFamilies=AF_INET",
                             "RestrictAddressFamilies=")

    def assert_forbids(self, calls, *forbidden):
        comments, lines = self.unit(text=UNIT, calls=calls)
        wanted = [f"#SystemCallFilter={' '.join(forbidden)}"] if forbidden else []
        self.assertEqual([line for line in comments.splitlines()
                          if line.startswith("#SystemCallFilter=")], wanted)
        self.assertEqual("SystemCallFilter= leaves out" in comments, bool(forbidden), comments)
        self.assertEqual(len(lines), 2, lines)

    def test_system_calls_that_are_forbidden(self):
        self.assert_forbids("~statx", "statx")
        self.assert_forbids("~adjtimex kcmp pwrite64:EPERM statx:kill swapon",
                            "kcmp", "pwrite64", "statx")
        self.assert_forbids("~statx2 xstatx rename")  # names that only look like it
        self.assert_forbids("~")
        self.assert_forbids("")

    def test_system_calls_that_are_allowed(self):
        whole = " ".join(system_service())
        self.assert_forbids(whole)
        self.assert_forbids(whole.replace(" statx ", " ").replace(" kcmp ", " "), "kcmp", "statx")
        self.assert_forbids(whole.replace(" statx ", " statx:kill "), "statx")
        self.assert_forbids(whole.replace(" statx ", " statx:EPERM "))

    def test_a_systemctl_too_old_to_show_them(self):
        self.assert_not_said("SystemCallFilter", "SystemCallFilter=read")

    def test_a_tmp_of_its_own(self):
        for setting in ("PrivateTmp", "DynamicUser"):
            for value in ("yes", "true", "1", "on", "True"):
                self.assert_said(f"{setting}= gives it a /tmp of its own", f"{setting}={value}")
            for value in ("no", "0", ""):
                self.assert_not_said("/tmp of its own", f"{setting}=yes", f"{setting}={value}")

    def test_directories(self):
        self.assert_said("RuntimeDirectory= is removed", "RuntimeDirectory=app")
        self.assert_said("RootDirectory=", "RootDirectory=/srv")

    def test_what_makes_no_difference(self):
        comments, _ = self.unit(text=UNIT + "NoNewPrivileges=yes\nProtectSystem=strict\n")
        self.assertEqual(len(comments.splitlines()), 4, comments)

    def test_other_sections(self):
        self.assert_not_said("RuntimeDirectory", "[Install]", "RuntimeDirectory=app")

    def test_a_program_that_cannot_be_guarded(self):
        self.assert_said("will not be guarded: /usr/bin/busybox is statically linked",
                         "ExecStart=", "ExecStart=-/usr/bin/busybox sh")
        self.assert_not_said("will not be guarded", "ExecStart=/usr/bin/python3")


if __name__ == "__main__":
    sys.exit(harness.main())
