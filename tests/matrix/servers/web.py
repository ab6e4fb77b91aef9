"""Web servers, proxies and their back ends."""

import glob
import os
import re
import signal
import subprocess

import clients
from server import Server, wait_until


class Nginx(Server):
    name = "nginx"
    packages = ("nginx-light",)
    unit = "nginx.service"
    differs = "a configuration without the package's includes"
    as_root = True
    files = {"nginx.conf": '''
user www-data;
env LD_PRELOAD;
worker_processes 2;
pid {dir}/pid;
error_log {dir}/error.log notice;
events { worker_connections 64; }
http {
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    server {
        listen unix:{sock};
        return 200 "{name}";
    }
}
'''}
    pidfile = "{dir}/pid"
    client = clients.http_get
    stop = signal.SIGQUIT
    how_reloaded = "HUP, then USR2, and QUIT to the old master"
    note = ("it clears its environment. Without `env LD_PRELOAD;` in its configuration, the new "
            "master of an upgrade is not guarded")

    @property
    def command(self):
        """Before 1.19.5, nginx has no -e, and reports errors at the start to stderr."""
        usage = subprocess.run(["/usr/sbin/nginx", "-h"], stderr=subprocess.PIPE, check=True,
                               text=True)
        early = "-e {dir}/error.log " if "-e filename" in usage.stderr else ""
        return (f"/usr/sbin/nginx {early}-c {{dir}}/nginx.conf "
                "-g 'daemon on; master_process on;'")

    def reload(self, instance):
        instance.signal(signal.SIGHUP)
        instance.wait_log("gracefully shutting down", 2)
        old = instance.main()
        instance.signal(signal.SIGUSR2)
        wait_until(lambda: instance.main() != old, "the new master")
        instance.wait_log("start worker process ", 6)
        instance.signal(signal.SIGQUIT, old)
        wait_until(lambda: old not in instance.pids(), "the end of the old master")


class NginxCleared(Nginx):
    """Only a supervisor guards the new master of an upgrade, which starts without LD_PRELOAD."""

    name = "nginx without env"
    differs = "a configuration without the package's includes and without `env LD_PRELOAD;`"
    files = {"nginx.conf": Nginx.files["nginx.conf"].replace("env LD_PRELOAD;\n", "")}
    by = "syscalls"
    note = ""


def haproxy_version():
    """Returns the version of the installed haproxy, such as (2, 6)."""
    said = subprocess.run(["/usr/sbin/haproxy", "-v"], stdout=subprocess.PIPE, check=True, text=True)
    return tuple(map(int, re.search(r"version (\d+)\.(\d+)", said.stdout).groups()))


class Haproxy(Server):
    packages = ("haproxy",)
    as_root = True
    drops_to = "haproxy"
    CONFIGURATION = '''
global
    user haproxy
    group haproxy
    stats socket {dir}/admin.sock level admin expose-fd listeners
defaults
    mode http
    timeout client 10s
    timeout connect 10s
    timeout server 10s
frontend matrix
    bind unix@{sock} mode 666
'''
    RETURN = '    http-request return status 200 content-type text/plain string "{name}"\n'
    pidfile = "{dir}/pid"
    client = clients.http_get

    @property
    def files(self):
        """Before 2.2, haproxy itself answers only with the file for an error: no backend exists."""
        if haproxy_version() >= (2, 2):
            return {"haproxy.cfg": self.CONFIGURATION + self.RETURN}
        return {"haproxy.cfg": self.CONFIGURATION + "    errorfile 503 {dir}/answer\n",
                "answer": "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n{name}"}


class HaproxySingle(Haproxy):
    name = "haproxy"
    differs = "as the init script starts it; the next row uses the unit's command"
    stop = signal.SIGUSR1
    command = "haproxy -D -f haproxy.cfg -p {dir}/pid"
    how_reloaded = "-x -sf"

    def reload(self, instance):
        old = instance.main()
        new = instance.place.instance(
            "first", f"haproxy -D -f haproxy.cfg -p {{dir}}/pid -x {{dir}}/admin.sock -sf {old}",
            again=True)
        wait_until(instance.ended, "the end of the old process")
        return new


class HaproxyMaster(Haproxy):
    name = "haproxy -Ws"
    unit = "haproxy.service"
    command = "/usr/sbin/haproxy -Ws -f haproxy.cfg -p {dir}/pid -S {dir}/master.sock"
    how_reloaded = "USR2"

    @staticmethod
    def loaded():
        """What the log says. Before 2.5, the master binds, forks, and says no more."""
        return "Loading success" if haproxy_version() >= (2, 5) else "New worker .* forked"

    def ready(self, instance):
        instance.wait_log(self.loaded())

    def reload(self, instance):
        instance.signal(signal.SIGUSR2)
        instance.wait_log(self.loaded(), 2)
        instance.wait_log("Former worker .* exited")


class PhpFpm(Server):
    name = "php-fpm"
    packages = ("php-fpm",)
    version_of = "php[0-9]*-fpm"
    unit = "php[0-9]*-fpm.service"
    differs = "one pool, like the package's www"
    as_root = True
    files = {"fpm.conf": '''
[global]
pid = {dir}/pid
error_log = {dir}/error.log
daemonize = no
[www]
user = www-data
group = www-data
listen = {sock}
listen.owner = www-data
listen.group = www-data
pm = dynamic
pm.max_children = 5
pm.start_servers = 2
pm.min_spare_servers = 1
pm.max_spare_servers = 3
ping.path = /ping
'''}
    pidfile = "{dir}/pid"
    client = clients.fastcgi(REQUEST_METHOD="GET", SCRIPT_NAME="/ping", SCRIPT_FILENAME="/ping")
    how_reloaded = "USR2"

    @property
    def command(self):
        return (sorted(glob.glob("/usr/sbin/php-fpm[0-9]*")) or ["php-fpm"])[-1] + \
            " --nodaemonize --fpm-config {dir}/fpm.conf"

    def reload(self, instance):
        instance.signal(signal.SIGUSR2)
        instance.wait_log("ready to handle connections", 2)


class Lighttpd(Server):
    name = "lighttpd"
    packages = ("lighttpd",)
    unit = "lighttpd.service"
    differs = "one configuration file, without the package's modules"
    as_root = True
    drops_to = "www-data"
    files = {"hello.txt": "hello\n", "lighttpd.conf": '''
server.bind = "{sock}"
server.document-root = "{dir}"
server.username = "www-data"
server.groupname = "www-data"
server.pid-file = "{dir}/pid"
'''}
    command = "lighttpd -D -f {dir}/lighttpd.conf"
    how_reloaded = "USR1"

    @staticmethod
    def client(path):
        """Gets a file."""
        clients.http_get(path, "/hello.txt")

    def reload(self, instance):
        instance.signal(signal.SIGUSR1)
        instance.wait_log("server started", 2)


class Varnish(Server):
    name = "varnish"
    packages = ("varnish",)
    unit = "varnish.service"
    differs = "-a names a socket; no backend; no -T"
    as_root = True
    command = ("varnishd -j unix,user=vcache -F -n {dir}/work -a {sock},mode=666 -b none -T none "
               "-s malloc,256m")

    @staticmethod
    def client(path):
        """There is no backend, so varnish answers with an error."""
        clients.http_get(path, okay=(503,))


class Fcgiwrap(Server):
    name = "fcgiwrap"
    packages = ("fcgiwrap",)
    unit = "fcgiwrap.service"
    differs = "-s: binds the socket itself; in the unit, systemd binds it"
    user = "www-data"
    command = "fcgiwrap -f -s unix:{sock}"

    @staticmethod
    def client(path):
        """Runs a CGI program."""
        program = os.path.join(os.path.dirname(os.path.dirname(path)), "first", "hello.cgi")
        clients.fastcgi(REQUEST_METHOD="GET", SCRIPT_FILENAME=program)(path)

    def prepare(self, instance):
        instance.write("hello.cgi", "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nhello\\n'\n",
                       0o755)


class Cups(Server):
    name = "cupsd"
    packages = ("cups-daemon",)
    unit = "cups.service"
    differs = "no -l: binds the socket itself; in the unit, systemd binds it"
    as_root = True
    files = {"cupsd.conf": '''
Listen {sock}
LogLevel info
WebInterface no
Browsing no
''', "cups-files.conf": '''
ServerRoot {dir}
StateDir {dir}/state
CacheDir {dir}/cache
RequestRoot {dir}/spool
TempDir {dir}/spool/tmp
DataDir /usr/share/cups
ServerBin /usr/lib/cups
AccessLog {dir}/access.log
ErrorLog {dir}/error.log
PageLog {dir}/page.log
'''}
    command = "cupsd -f -c {dir}/cupsd.conf -s {dir}/cups-files.conf"
    how_reloaded = "HUP"

    def prepare(self, instance):
        instance.run("mkdir state cache spool spool/tmp")

    @staticmethod
    def client(path):
        """Requests the start page, which may be missing."""
        clients.http_get(path, okay=(200, 403, 404))

    def reload(self, instance):
        instance.signal(signal.SIGHUP)
        instance.wait_log("(?i)Loaded configuration file", 2)


class Caddy(Server):
    name = "caddy"
    language = "Go"
    packages = ("caddy",)
    unit = "caddy.service"
    differs = "no HTTP administration"
    user = "caddy"
    files = {"Caddyfile": '''{
    admin off
    auto_https off
}
http:// {
    bind unix/{sock}
    respond "hello"
}
'''}
    command = "caddy run --environ --config {dir}/Caddyfile"
    client = clients.http_get
    by = "auto"
