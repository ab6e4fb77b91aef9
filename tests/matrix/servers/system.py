"""Supervision, logging, time, printing, containers."""

import signal

import clients
from server import Server


class Supervisord(Server):
    name = "supervisord"
    language = "Python"
    packages = ("supervisor",)
    unit = "supervisor.service"
    differs = "nothing to supervise"
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
    differs = "a socket of its own in place of /dev/log, which systemd binds"
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
    """In the seccomp filter of the package's DAEMON_OPTS, /etc/default/chrony. -d has it log to
    standard error, and -x leaves the clock alone."""

    name = "chronyd"
    kind = "datagram"
    packages = ("chrony",)
    unit = "chrony.service"
    differs = "-d: logs to standard error; -x: leaves the clock alone"
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
    differs = "logs more than warnings: its reload is seen by that"
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
    differs = "binds by itself, as by its init script: the unit's socket is bound by systemd"
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
    differs = "without what needs a kernel of its own"
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
    guardable = False


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
    differs = "binds by itself: the unit's socket is bound by systemd; no network"
    as_root = True
    command = ("dockerd --host=unix://{sock} --data-root={dir}/data --exec-root={dir}/exec "
               "--pidfile={dir}/pid --bridge=none --iptables=false --storage-driver=vfs")
    guardable = False

    @staticmethod
    def client(path):
        """The ping of Docker's API."""
        clients.http_get(path, "/_ping")


class Unbound(Server):
    name = "unbound"
    packages = ("unbound",)
    unit = "unbound.service"
    differs = "another port; logs to standard error"
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
