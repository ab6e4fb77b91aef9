"""Mail servers: delivery, filters, policies."""

import signal

import clients
from server import Server, wait_until


class Dovecot(Server):
    name = "dovecot"
    packages = ("dovecot-lmtpd",)
    unit = "dovecot.service"
    differs = "LMTP only"
    as_root = True
    files = {"dovecot.conf": '''
protocols = lmtp
base_dir = {dir}/base
state_dir = {dir}/state
log_path = {dir}/dovecot.log
ssl = no
mail_location = maildir:{dir}/mail
service lmtp {
    unix_listener {sock} {
        mode = 0666
    }
}
'''}
    command = "dovecot -F -c {dir}/dovecot.conf"
    client = clients.lmtp
    how_reloaded = "HUP"

    def reload(self, instance):
        instance.signal(signal.SIGHUP)
        instance.wait_log("SIGHUP received")


class DovecotSupervised(Dovecot):
    """dovecot starts lmtp without LD_PRELOAD in its environment."""

    name = "dovecot lmtp"
    by = "syscalls"


class Clamd(Server):
    name = "clamd"
    packages = ("clamav-daemon",)
    unit = "clamav-daemon.service"
    differs = ("a database with one signature; binds the socket itself; in the unit, systemd binds "
               "it")
    as_root = True
    drops_to = "clamav"
    files = {"db/matrix.hdb": "44d88612fea8a8f36de82e1278abb02f:68:Matrix.Eicar\n",
             "clamd.conf": '''
DatabaseDirectory {dir}/db
LocalSocket {sock}
FixStaleSocket true
LocalSocketGroup clamav
LocalSocketMode 666
User clamav
LogFile {dir}/clamd.log
'''}
    command = "clamd --foreground=true --config-file={dir}/clamd.conf"
    client = clients.clamd
    how_reloaded = "USR2"

    def reload(self, instance):
        instance.signal(signal.SIGUSR2)
        instance.wait_log("Reading databases|Database correctly reloaded|status OK")


class Spamd(Server):
    name = "spamd"
    language = "Perl"
    packages = ("spamd",)
    unit = "spamd.service"
    differs = "one rule; no network tests; a socket instead of the port"
    as_root = True
    files = {"rules/matrix.cf": "body MATRIX /matrix/\n", "site/local.cf": "use_bayes 0\n",
             "site/init.pre": "loadplugin Mail::SpamAssassin::Plugin::Check\n"}
    command = ("spamd --socketpath={sock} --socketmode=666 --configpath={dir}/rules "
               "--siteconfigpath={dir}/site --local --syslog=stderr --pidfile={dir}/pid "
               "--create-prefs --max-children 5 --helper-home-dir")
    client = clients.spamd
    how_reloaded = "HUP"

    def ready(self, instance):
        instance.wait_log("server successfully spawned child process")

    def reload(self, instance):
        instance.signal(signal.SIGHUP)
        instance.wait_log("server started on", 2)


class Opendkim(Server):
    name = "opendkim"
    packages = ("opendkim",)
    unit = "opendkim.service"
    differs = "Mode v: it verifies, but does not sign"
    as_root = True
    drops_to = "opendkim"
    files = {"opendkim.conf": '''
Mode v
Syslog yes
UserID opendkim
UMask 007
Socket local:{sock}
PidFile {dir}/pid
'''}
    command = "opendkim -x {dir}/opendkim.conf"
    pidfile = "{dir}/pid"
    client = clients.milter
    how_reloaded = "USR1"

    def reload(self, instance):
        instance.signal(signal.SIGUSR1)


class Postgrey(Server):
    name = "postgrey"
    language = "Perl"
    packages = ("postgrey",)
    unit = "postgrey.service"
    differs = "--unix instead of --inet"
    as_root = True
    drops_to = "postgrey"
    files = {"db/.keep": ""}
    command = "postgrey --unix={sock} --dbdir={dir}/db --greylist-text=Greylisted"
    client = clients.postfix_policy
    how_reloaded = "HUP"

    def reload(self, instance):
        instance.signal(signal.SIGHUP)


class Saslauthd(Server):
    name = "saslauthd"
    packages = ("sasl2-bin",)
    differs = "as the init script starts it, with the defaults in /etc/default/saslauthd"
    as_root = True
    socket = "{run}/mux"
    command = "saslauthd -a pam -c -m {run} -n 5"
    pidfile = "{run}/saslauthd.pid"
    client = clients.saslauthd


class Rspamd(Server):
    name = "rspamd"
    packages = ("rspamd",)
    unit = "rspamd.service"
    differs = "only the controller, without filters"
    user = "_rspamd"
    files = {"rspamd.conf": '''
options {
    pidfile = "{dir}/pid";
    rundir = "{dir}";
    dynamic_conf = "{dir}/dynamic";
    control_socket = "{dir}/control.sock";
    filters = "";
    dns { nameserver = "127.0.0.1"; }
}
logging { type = "console"; level = "notice"; }
worker "controller" {
    bind_socket = "{sock} mode=0666";
    count = 1;
    password = "q1";
}
'''}
    command = "rspamd -c {dir}/rspamd.conf -f"
    how_reloaded = "HUP"

    @staticmethod
    def client(path):
        """Pings the controller."""
        clients.http_get(path, "/ping")

    def reload(self, instance):
        before = set(instance.pids())
        instance.signal(signal.SIGHUP)
        wait_until(lambda: len(set(instance.pids()) - before) >= 1, "a new worker")
