"""Supervision, logging, time, printing, containers."""

import signal

import clients
from server import Server


class Supervisord(Server):
    name = "supervisord"
    language = "Python"
    packages = ("supervisor",)
    unit = "supervisor.service"
    differs = "no programs to supervise"
    as_root = True
    files = {"supervisord.conf": '''
[supervisord]
nodaemon = true
user = root
logfile = {dir}/supervisord.log
pidfile = {dir}/pid
[unix_http_server]
file = {sock}
chmod = 0700
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl = unix://{sock}
'''}
    command = "supervisord -n -c {dir}/supervisord.conf"
    stop = "supervisorctl -c {dir}/supervisord.conf shutdown"
    client = clients.xml_rpc("supervisor.getState")
    how_reloaded = "HUP"

    def reload(self, instance):
        instance.signal(signal.SIGHUP)
        instance.wait_log("supervisord started with pid", 2)


class Rsyslog(Server):
    name = "rsyslog"
    kind = "datagram"
    packages = ("rsyslog",)
    unit = "rsyslog.service"
    differs = "a socket of its own instead of /dev/log, which systemd binds"
    as_root = True
    files = {"rsyslog.conf": '''
global(workDirectory="{dir}")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{sock}" RateLimit.Interval="0")
action(type="omfile" file="{run}/../messages")
'''}
    command = "rsyslogd -n -iNONE -f {dir}/rsyslog.conf"
    client = clients.datagram_to("{run}/../messages")
    how_reloaded = "HUP"

    def reload(self, instance):
        instance.signal(signal.SIGHUP)


class Chronyd(Server):
    """Runs with the seccomp filter that the package's DAEMON_OPTS select (/etc/default/chrony)."""

    name = "chronyd"
    kind = "datagram"
    packages = ("chrony",)
    unit = "chrony.service"
    differs = "-d: logs to standard error; -x: does not set the clock"
    as_root = True
    drops_to = "_chrony"
    run_mode = 0o770
    files = {"chrony.conf": '''
bindcmdaddress {sock}
cmdport 0
port 0
pidfile {dir}/pid
'''}
    command = "chronyd -d -u _chrony -F 1 -x -f {dir}/chrony.conf"
    client = clients.runs("chronyc", "-n", "-h", "{sock}", "tracking")


class Bird(Server):
    name = "bird"
    packages = ("bird2",)
    unit = "bird.service"
    as_root = True
    drops_to = "bird"
    files = {"bird.conf": "router id 192.0.2.1;\nlog stderr all;\nprotocol device { }\n"}
    command = "bird -f -u bird -g bird -c {dir}/bird.conf -s {sock} -P {dir}/pid"
    client = clients.bird
    how_reloaded = "HUP"

    def reload(self, instance):
        instance.signal(signal.SIGHUP)
        instance.wait_log("Reconfigured")


class Snmpd(Server):
    name = "snmpd"
    packages = ("snmpd",)
    unit = "snmpd.service"
    differs = "logs more than warnings, because only the log shows the reload"
    as_root = True
    files = {"snmpd.conf": "master agentx\nagentXSocket unix:{sock}\n"}
    command = ("snmpd -LOi -u Debian-snmp -g Debian-snmp -I -smux,mteTrigger,mteTriggerConf -f "
               "-C -c {dir}/snmpd.conf -p {dir}/pid unix:{dir}/snmp")
    client = clients.agentx
    how_reloaded = "HUP"

    def reload(self, instance):
        instance.signal(signal.SIGHUP)
        instance.wait_log("NET-SNMP version", 2)


class Acpid(Server):
    name = "acpid"
    packages = ("acpid",)
    unit = "acpid.service"
    differs = "binds the socket itself, as with the init script; in the unit, systemd binds it"
    as_root = True
    files = {"events/none": "event=matrix\naction=/bin/true\n"}
    command = ("acpid --foreground --netlink --logevents --socketfile {sock} "
               "--confdir {dir}/events --pidfile {dir}/pid")
    client = clients.connects
    how_reloaded = "HUP"

    def reload(self, instance):
        instance.signal(signal.SIGHUP)


class Containerd(Server):
    name = "containerd"
    language = "Go"
    packages = ("containerd",)
    unit = "containerd.service"
    differs = "without cri, opt and four of the snapshotters"
    as_root = True
    files = {"config.toml": '''
version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{sock}"
[ttrpc]
  address = "{dir}/ttrpc.sock"
'''}
    command = "containerd --config {dir}/config.toml"
    client = clients.http2
    by = "auto"


class Socat(Server):
    name = "socat UNIX-LISTEN"
    packages = ("socat",)
    user = "nobody"
    command = "socat UNIX-LISTEN:{sock},fork,unlink-early PIPE"
    client = clients.echo


class SocatDatagram(Server):
    name = "socat UNIX-RECV"
    kind = "datagram"
    packages = ("socat",)
    user = "nobody"
    command = "socat -u UNIX-RECV:{sock},unlink-early OPEN:{dir}/messages,creat,append"
    client = clients.datagram_to("{run}/../*/messages", "{token}\n")


class Dockerd(Server):
    name = "dockerd"
    language = "Go"
    packages = ("docker.io",)
    unit = "docker.service"
    differs = "binds the socket itself; in the unit, systemd binds it; no network"
    as_root = True
    command = ("dockerd --host=unix://{sock} --data-root={dir}/data --exec-root={dir}/exec "
               "--pidfile={dir}/pid --bridge=none --iptables=false --storage-driver=vfs")
    by = "auto"

    @staticmethod
    def client(path):
        """Pings the Docker API."""
        clients.http_get(path, "/_ping")


class Unbound(Server):
    name = "unbound"
    packages = ("unbound",)
    unit = "unbound.service"
    differs = "a different port; logs to standard error"
    as_root = True
    drops_to = "unbound"
    files = {"unbound.conf": '''
server:
    interface: 127.0.0.1@{port}
    do-daemonize: no
    use-syslog: no
    logfile: ""
    chroot: ""
    directory: "{dir}"
    pidfile: "{dir}/pid"
remote-control:
    control-enable: yes
    control-interface: {sock}
    control-use-cert: no
'''}
    command = "unbound -d -p -c {dir}/unbound.conf"
    client = clients.unbound
    how_reloaded = "HUP"

    def reload(self, instance):
        instance.signal(signal.SIGHUP)
        instance.wait_log("Restart of unbound", 1)


class BusyboxSyslogd(Server):
    """It always uses /dev/log, so each instance has a /dev of its own: {run}, in a mount namespace.
    unshare and sh, which start it, can be preloaded, so "auto" would choose preloading; but it is
    linked statically and needs --by syscalls."""

    name = "busybox syslogd"
    kind = "datagram"
    packages = ("busybox-static", "util-linux")
    as_root = True
    socket = "{run}/log"
    command = ("unshare --mount sh -c 'mount -t tmpfs tmpfs /run && mount --bind {run} /dev && "
               "exec busybox syslogd -n -O {dir}/messages'")
    differs = "a /dev and a /run of its own"
    client = clients.datagram_to("{run}/../*/messages")
    by = "syscalls"


class GoProgram(Server):
    """os.Remove and net.Listen, beside many threads that the garbage collector interrupts."""

    name = "Go test program"
    language = "Go"
    packages = ("golang-go",)
    user = "nobody"
    program = "go build -o {program} {source}/collector.go"
    command = "{program} {sock}"
    env = {"GOMAXPROCS": "8"}
    client = clients.http_get
    by = "auto"


class MuslProgram(Server):
    """In C, because Debian's rustc has no library for musl."""

    name = "static test program"
    language = "C, musl"
    packages = ("musl-tools", "gcc")
    user = "nobody"
    program = "musl-gcc -static -Os -o {program} {source}/static.c"
    command = "{program} {sock}"
    client = clients.http_get
    by = "auto"
