"""Programs of a desktop, and programs that users start."""

import os
import signal

import clients
from server import Server


class DbusDaemon(Server):
    name = "dbus-daemon"
    packages = ("dbus-daemon",)
    unit = "dbus.service"
    differs = "binds the socket itself, like a bus in a container; in the unit, systemd binds it"
    user = "messagebus"
    files = {"bus.conf": '''<!DOCTYPE busconfig PUBLIC
 "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path={sock}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default"><allow send_destination="*"/><allow own="*"/></policy>
</busconfig>
'''}
    command = "dbus-daemon --nofork --nopidfile --config-file={dir}/bus.conf"
    client = clients.dbus
    how_reloaded = "HUP"

    def reload(self, instance):
        instance.signal(signal.SIGHUP)


class Pulseaudio(Server):
    name = "pulseaudio"
    packages = ("pulseaudio", "pulseaudio-utils")
    unit = "user/pulseaudio.service"
    differs = "binds the socket itself; in the unit, systemd binds it; no sound card"
    user = "nobody"
    env = {"XDG_RUNTIME_DIR": "{dir}"}
    command = ("pulseaudio -n --daemonize=no --exit-idle-time=-1 --use-pid-file=no "
               "--load='module-native-protocol-unix socket={sock} auth-anonymous=1' "
               "--load=module-null-sink")
    client = clients.runs("pactl", "--server=unix:{sock}", "info")


class Mpd(Server):
    name = "mpd"
    language = "C++"
    packages = ("mpd",)
    unit = "mpd.service"
    differs = "binds the socket itself; in the unit, systemd binds it; no sound card"
    as_root = True
    drops_to = "mpd"
    files = {"music/.keep": "", "mpd.conf": '''
user "mpd"
music_directory "{dir}/music"
db_file "{dir}/database"
log_file "{dir}/mpd.log"
bind_to_address "{sock}"
zeroconf_enabled "no"
audio_output {
    type "null"
    name "null"
}
'''}
    command = "mpd --no-daemon {dir}/mpd.conf"
    client = clients.mpd


class Xvfb(Server):
    name = "Xvfb"
    packages = ("xvfb",)
    user = "nobody"
    socket = "/tmp/.X11-unix/X6460"
    command = "Xvfb :6460 -nolisten tcp -screen 0 64x64x8"
    client = clients.x11

    def prepare(self, instance):
        try:
            os.mkdir("/tmp/.X11-unix")
            os.chmod("/tmp/.X11-unix", 0o1777)
        except FileExistsError:
            pass


class Tmux(Server):
    name = "tmux"
    packages = ("tmux",)
    env = {"TERM": "linux"}
    command = "tmux -S {sock} -f /dev/null new-session -d -s {name} 'sleep 1000'"
    client = clients.runs("tmux", "-S", "{sock}", "list-sessions")
    stop = "tmux -S {sock} kill-server"


class SshAgent(Server):
    name = "ssh-agent"
    packages = ("openssh-client",)
    unit = "user/ssh-agent.service"
    command = "ssh-agent -D -a {sock}"
    client = clients.ssh_agent
    by = "auto"
    note = ("it is set-group-ID, so no library is preloaded. It also prevents other processes of "
            "its user from inspecting it, so a supervisor needs CAP_SYS_PTRACE to guard it")


class SshAgentOfUser(SshAgent):
    name = "ssh-agent (unprivileged)"
    user = "nobody"
    by = "syscalls"
    guardable = False
    note = ""


class GpgAgent(Server):
    name = "gpg-agent"
    packages = ("gpg-agent",)
    unit = "user/gpg-agent.service"
    differs = "as gpg starts it; in the unit, systemd binds the socket"
    socket = "{run}/S.gpg-agent"
    run_mode = 0o700
    command = "gpg-agent --homedir {run} --daemon"
    client = clients.assuan
    stop = "gpgconf --homedir {run} --kill gpg-agent"


class Qemu(Server):
    name = "qemu -qmp"
    packages = ("qemu-system-x86",)
    user = "nobody"
    command = ("qemu-system-x86_64 -M none -nodefaults -display none "
               "-qmp unix:{sock},server=on,wait=off")
    client = clients.qmp


class QemuNbd(Server):
    name = "qemu-nbd"
    packages = ("qemu-utils",)
    user = "nobody"
    files = {"disk": "\0" * 65536}
    command = "qemu-nbd --socket={sock} --persistent --shared=0 --format=raw {dir}/disk"
    client = clients.nbd


class Pipewire(Server):
    name = "pipewire"
    packages = ("pipewire-bin",)
    user = "nobody"
    socket = "{run}/pipewire-0"
    env = {"PIPEWIRE_RUNTIME_DIR": "{run}", "XDG_RUNTIME_DIR": "{dir}"}
    command = "pipewire"
    client = clients.runs("pw-cli", "--remote={sock}", "info", "0")
