"""Databases, caches, queues."""

import glob
import signal

import clients
from server import Server, wait_until


class Redis(Server):
    name = "redis-server"
    packages = ("redis-server",)
    user = "redis"
    files = {"redis.conf": '''
port 0
unixsocket {sock}
unixsocketperm 770
dir {dir}
daemonize no
save ""
'''}
    command = "redis-server {dir}/redis.conf"
    client = clients.redis


class Memcached(Server):
    name = "memcached"
    packages = ("memcached",)
    as_root = True
    drops_to = "memcache"
    command = "memcached -u memcache -s {sock} -a 0770 -m 16"
    client = clients.memcached


class Mariadb(Server):
    name = "mariadb"
    language = "C++"
    packages = ("mariadb-server",)
    as_root = True
    drops_to = "mysql"
    command = ("mariadbd --no-defaults --user=mysql --datadir={dir}/data --socket={sock} --skip-networking "
               "--pid-file={dir}/pid --innodb-buffer-pool-size=16M --innodb-log-file-size=8M")
    client = clients.mysql

    def prepare(self, instance):
        instance.seed("data", "mariadb-install-db --no-defaults --user=mysql --datadir={dir}/data "
                              "--auth-root-authentication-method=normal --skip-test-db "
                              "--innodb-log-file-size=8M")


class Postgresql(Server):
    name = "postgresql"
    packages = ("postgresql",)
    version_of = "postgresql-[0-9]*"
    user = "postgres"
    socket = "{run}/.s.PGSQL.5432"
    client = clients.postgresql("postgres", "postgres")
    stop = signal.SIGINT
    how_reloaded = "HUP"

    @staticmethod
    def _program(name):
        return (sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}")) or [name])[-1]

    @property
    def command(self):
        return self._program("postgres") + \
            " -D {dir}/data -c listen_addresses= -c unix_socket_directories={run}"

    def prepare(self, instance):
        instance.seed("data", self._program("initdb") + " --auth=trust --no-sync {dir}/data")

    def reload(self, instance):
        instance.signal(signal.SIGHUP)
        instance.wait_log("received SIGHUP")


class Pgbouncer(Server):
    name = "pgbouncer"
    packages = ("pgbouncer",)
    user = "postgres"
    socket = "{run}/.s.PGSQL.6432"
    files = {"pgbouncer.ini": '''
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = {run}
auth_type = any
admin_users = matrix
pidfile = {dir}/pid
logfile = {dir}/pgbouncer.log
'''}
    command = "pgbouncer -d {dir}/pgbouncer.ini"
    pidfile = "{dir}/pid"
    client = clients.postgresql("matrix", "pgbouncer")
    stop = signal.SIGINT
    how_reloaded = "-R"

    def reload(self, instance):
        new = instance.place.instance("first", "pgbouncer -d -R {dir}/pgbouncer.ini", again=True)
        wait_until(instance.ended, "the end of the old process")
        return new


class Mosquitto(Server):
    name = "mosquitto"
    packages = ("mosquitto",)
    as_root = True
    drops_to = "mosquitto"
    files = {"mosquitto.conf": '''
user mosquitto
listener 0 {sock}
allow_anonymous true
log_dest stderr
'''}
    command = "mosquitto -c mosquitto.conf"
    client = clients.mqtt
    how_reloaded = "HUP"

    def reload(self, instance):
        instance.signal(signal.SIGHUP)
        instance.wait_log("Reloading config")


class Beanstalkd(Server):
    name = "beanstalkd"
    packages = ("beanstalkd",)
    user = "beanstalkd"
    command = "beanstalkd -l unix:{sock}"
    client = clients.beanstalkd
