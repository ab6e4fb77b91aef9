"""Databases, caches, queues."""

import glob
import signal

import clients
from server import Server, wait_until


class Redis(Server):
    name = "redis-server"
    packages = ("redis-server",)
    unit = "redis-server.service"
    differs = "the package's redis.conf, with a socket instead of the port"
    user = "redis"
    files = {"redis.conf": '''
include /etc/redis/redis.conf
port 0
unixsocket {sock}
unixsocketperm 770
dir {dir}
pidfile {dir}/pid
logfile {dir}/redis.log
'''}
    command = "redis-server {dir}/redis.conf --supervised systemd --daemonize no"
    client = clients.redis


class Memcached(Server):
    name = "memcached"
    packages = ("memcached",)
    unit = "memcached.service"
    differs = "-s instead of -l and -p in memcached.conf"
    as_root = True
    drops_to = "memcache"
    files = {"memcached.conf": '''
-d
logfile {dir}/memcached.log
-m 64
-s {sock}
-a 0770
-u memcache
-P {dir}/pid
'''}
    command = "/usr/share/memcached/scripts/systemd-memcached-wrapper {dir}/memcached.conf"
    client = clients.memcached


class Mariadb(Server):
    name = "mariadb"
    language = "C++"
    packages = ("mariadb-server",)
    unit = "mariadb.service"
    differs = "no port; less memory; root has no password"
    user = "mysql"
    command = ("mariadbd --datadir={dir}/data --socket={sock} --skip-networking "
               "--pid-file={dir}/pid --innodb-buffer-pool-size=16M --innodb-log-file-size=8M")
    client = clients.mysql

    def prepare(self, instance):
        instance.seed("data", "mariadb-install-db --no-defaults --datadir={dir}/data "
                              "--auth-root-authentication-method=normal --skip-test-db "
                              "--innodb-log-file-size=8M")


class Postgresql(Server):
    name = "postgresql"
    packages = ("postgresql",)
    unit = "postgresql@.service"
    differs = "without pg_ctlcluster, which runs this command; trust authentication; no port"
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
    unit = "pgbouncer.service"
    differs = "no port and no passwords"
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
    command = "pgbouncer {dir}/pgbouncer.ini"
    pidfile = "{dir}/pid"
    client = clients.postgresql("matrix", "pgbouncer")
    stop = signal.SIGINT
    how_reloaded = "-R"

    def reload(self, instance):
        new = instance.place.instance("first", "pgbouncer -R {dir}/pgbouncer.ini", again=True)
        wait_until(instance.ended, "the end of the old process")
        return new


class Mosquitto(Server):
    name = "mosquitto"
    packages = ("mosquitto",)
    unit = "mosquitto.service"
    differs = "a socket instead of the port; any client may connect"
    as_root = True
    drops_to = "mosquitto"
    files = {"mosquitto.conf": '''
pid_file {dir}/pid
persistence true
persistence_location {dir}/
log_dest file {dir}/mosquitto.log
listener 0 {sock}
allow_anonymous true
'''}
    command = "mosquitto -c {dir}/mosquitto.conf"
    client = clients.mqtt
    how_reloaded = "HUP"

    def reload(self, instance):
        instance.signal(signal.SIGHUP)
        instance.wait_log("Reloading config")


class Beanstalkd(Server):
    name = "beanstalkd"
    packages = ("beanstalkd",)
    unit = "beanstalkd.service"
    user = "beanstalkd"
    command = "beanstalkd -l unix:{sock} -p 11300"
    client = clients.beanstalkd
