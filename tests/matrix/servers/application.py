"""Application servers: Python, Ruby, Perl, JavaScript, Java."""

import signal

import clients
from server import Server, wait_until

WSGI = '''
import os

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.environ["INSTANCE"].encode()]
'''
ASGI = '''
async def application(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})
'''
RACK = 'run ->(env) { [200, {"Content-Type" => "text/plain"}, ["hello"]] }\n'
PSGI = 'sub { [200, ["Content-Type" => "text/plain"], ["hello"]] };\n'


class Gunicorn(Server):
    language = "Python"
    packages = ("gunicorn",)
    differs = "like the unit in gunicorn's documentation, but with two workers"
    user = "www-data"
    files = {"app.py": WSGI}
    worker = "sync"
    pidfile = "{dir}/pid"
    client = clients.http_get
    how_reloaded = "HUP, then USR2, and TERM to the old master"

    @property
    def command(self):
        return ("gunicorn --bind unix:{sock} --workers 2 --pid {dir}/pid "
                f"--worker-class {self.worker} app")

    def reload(self, instance):
        instance.wait_log("Booting worker", 2)
        instance.signal(signal.SIGHUP)
        instance.wait_log("Booting worker", 4)
        old = instance.main()
        instance.signal(signal.SIGUSR2)
        instance.wait_log("Booting worker", 6)
        instance.signal(signal.SIGTERM, old)
        wait_until(lambda: instance.main() != old, "the new master's pid")


class GunicornSync(Gunicorn):
    name = "gunicorn (sync)"


class GunicornThreads(Gunicorn):
    name = "gunicorn (gthread)"
    worker = "gthread --threads 4"


class GunicornGevent(Gunicorn):
    name = "gunicorn (gevent)"
    packages = ("gunicorn", "python3-gevent")
    worker = "gevent"


class GunicornControl(Gunicorn):
    name = "gunicorn (control socket)"
    min_version = "25.1"
    differs = ("two servers of one user, each with its own socket for HTTP. By default, both use "
               "the control socket ~/.gunicorn/gunicorn.ctl")
    command = ("gunicorn --bind unix:{dir}/http.sock --workers 2 --pid {dir}/pid "
               "--control-socket {sock} app")
    client = clients.gunicorn_control
    how_reloaded = "HUP"
    note = ("since 25.1, all servers of one user use the same control socket unless "
            "`--control-socket` selects another. Under the guard the second server still serves, "
            "and `gunicornc` reaches the first one while it runs")

    def ready(self, instance):
        # At each fork, gunicorn removes the socket and binds a new one.
        instance.wait_log("Booting worker", 2)
        wait_until(instance.answers, "the control socket after the last fork")

    def reload(self, instance):
        instance.signal(signal.SIGHUP)
        instance.wait_log("Booting worker", 4)
        wait_until(instance.answers, "the control socket after the last fork")


class Unicorn(Server):
    name = "unicorn"
    language = "Ruby"
    packages = ("unicorn",)
    unit = "unicorn.service"
    user = "www-data"
    files = {"config.ru": RACK, "unicorn.rb": '''
worker_processes 2
listen "{sock}"
pid "{dir}/pid"
working_directory "{dir}"
'''}
    command = "unicorn -c {dir}/unicorn.rb -E production"
    pidfile = "{dir}/pid"
    client = clients.http_get
    stop = signal.SIGQUIT
    how_reloaded = "USR2, and QUIT to the old master"

    def reload(self, instance):
        instance.wait_log("worker=1 ready")
        old = instance.main()
        instance.signal(signal.SIGUSR2)
        instance.wait_log("worker=1 ready", 2)
        instance.signal(signal.SIGQUIT, old)
        instance.wait_log("reaped .* worker=1", 1)
        wait_until(lambda: old not in instance.pids(), "the end of the old master")


class Node(Server):
    name = "Node"
    language = "JavaScript"
    packages = ("nodejs",)
    user = "www-data"
    files = {"server.js": '''
const server = require("http").createServer((request, response) => response.end("hello"));
server.listen(process.argv[2]);
process.on("SIGTERM", () => server.close());
'''}
    command = "node server.js {sock}"
    client = clients.http_get


class Uwsgi(Server):
    name = "uwsgi"
    packages = ("uwsgi-core", "uwsgi-plugin-python3")
    unit = "uwsgi-app@.service"
    differs = "binds the socket itself; in the unit, systemd binds it"
    user = "www-data"
    files = {"app.py": WSGI, "app.ini": '''
[uwsgi]
plugin = python3
http-socket = {sock}
wsgi-file = app.py
master = true
processes = 2
vacuum = true
'''}
    command = "uwsgi --ini {dir}/app.ini"
    stop = signal.SIGQUIT
    client = clients.http_get
    how_reloaded = "HUP"

    def ready(self, instance):
        instance.wait_log("spawned uWSGI worker 2")

    def reload(self, instance):
        instance.signal(signal.SIGHUP)
        instance.wait_log("spawned uWSGI worker 2", 2)


class Uvicorn(Server):
    name = "uvicorn"
    language = "Python"
    packages = ("uvicorn",)
    user = "www-data"
    files = {"app.py": ASGI}
    command = "uvicorn --uds {sock} --lifespan off app:application"
    client = clients.http_get


class Waitress(Server):
    name = "waitress"
    language = "Python"
    packages = ("python3-waitress",)
    user = "www-data"
    files = {"app.py": WSGI}
    command = "waitress-serve --unix-socket={sock} app:application"
    client = clients.http_get


class Twisted(Server):
    name = "twistd web"
    language = "Python"
    packages = ("python3-twisted",)
    user = "www-data"
    command = "twistd3 --nodaemon --pidfile= web --listen unix:{sock} --path {dir}"
    client = clients.http_get


class Puma(Server):
    name = "puma"
    language = "Ruby"
    packages = ("puma",)
    user = "www-data"
    files = {"config.ru": RACK}
    command = ("puma --no-config --bind unix://{sock} --workers 2 --environment production "
               "config.ru")
    client = clients.http_get
    how_reloaded = "USR2"

    def ready(self, instance):
        instance.wait_log("Worker 1 .*booted")

    def reload(self, instance):
        instance.signal(signal.SIGUSR2)
        instance.wait_log("Worker 1 .*booted", 2)


class Thin(Server):
    name = "thin"
    language = "Ruby"
    packages = ("thin",)
    user = "www-data"
    files = {"config.ru": RACK}
    command = "thin --socket {sock} --rackup config.ru --environment production start"
    client = clients.http_get
    stop = signal.SIGQUIT


class Starman(Server):
    name = "starman"
    language = "Perl"
    packages = ("starman",)
    user = "www-data"
    files = {"app.psgi": PSGI}
    command = "starman --listen {sock} --workers 2 --pid {dir}/pid app.psgi"
    client = clients.http_get
    how_reloaded = "HUP"

    def reload(self, instance):
        before = set(instance.pids())
        instance.signal(signal.SIGHUP)
        wait_until(lambda: len(set(instance.pids()) - before) >= 2, "new workers")


class Tomcat(Server):
    name = "tomcat"
    language = "Java"
    packages = ("tomcat10-user", "openjdk-17-jre-headless")
    differs = "started like an instance of tomcat10-user, without the examples"
    version_of = "tomcat10-common"
    user = "www-data"
    files = {"conf/server.xml": '''
<Server port="-1">
  <Service name="Catalina">
    <Connector protocol="org.apache.coyote.http11.Http11NioProtocol"
               unixDomainSocketPath="{sock}" unixDomainSocketPathPermissions="rw-rw-rw-"/>
    <Engine name="Catalina" defaultHost="localhost"><Host name="localhost"/></Engine>
  </Service>
</Server>
'''}
    env = {"CATALINA_HOME": "/usr/share/tomcat10", "CATALINA_BASE": "{dir}",
           "CATALINA_TMPDIR": "{dir}", "JAVA_OPTS": "-Xmx128m -XX:+UseSerialGC"}
    command = "/usr/share/tomcat10/bin/catalina.sh run"

    @staticmethod
    def client(path):
        """There is no application, so Tomcat answers with an error page."""
        clients.http_get(path, okay=(404,))

    def prepare(self, instance):
        for name in "logs", "work", "webapps":
            instance.run(f"mkdir {{dir}}/{name}")
