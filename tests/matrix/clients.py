"""A client for each protocol. It connects to the server at a socket path, and raises an exception
unless it gets an answer that only a working server gives."""

import glob
import http.client
import json
import os
import re
import socket
import struct
import subprocess
import time
import xmlrpc.client

from server import EVENT_TIMEOUT

ANSWER_TIMEOUT = EVENT_TIMEOUT / 5  # seconds; wait_until outlasts some requests without an answer


class Refused(Exception):
    """The answer is not that of a working server."""


class _HTTP(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=ANSWER_TIMEOUT)
        self.path = path

    def connect(self):
        self.sock = _connect(self.path)


def _connect(path, kind=socket.SOCK_STREAM):
    connection = socket.socket(socket.AF_UNIX, kind)
    connection.settimeout(ANSWER_TIMEOUT)
    try:
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection


def _expect(answer, pattern):
    if not re.match(pattern, answer, re.DOTALL):
        raise Refused(repr(answer[:80]))


def _exactly(connection, count):
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise EOFError(f"{len(data)} of {count} bytes")
        data += more
    return data


def says(request, pattern, greeting=None):
    """A client that sends a request, after a greeting if there is one, and matches the answer."""
    def client(path):
        with _connect(path) as connection:
            if greeting is not None:
                _line(connection, greeting)
            if request:
                connection.sendall(request)
            if pattern is not None:
                _answer(connection, pattern)
    return client


def _answer(connection, pattern):
    """Receives until the pattern matches; fails with a timeout if it never does."""
    data = b""
    while not re.match(pattern, data, re.DOTALL):
        more = connection.recv(4096)
        if not more or len(data) > 4096:
            raise Refused(repr(data[:80]) if data else "closed")
        data += more
    return data


def _line(connection, pattern):
    """Receives a line, which must match."""
    return _answer(connection, pattern + rb"[^\n]*\n")


def runs(*argv):
    """A client that is a program, with {sock} in its arguments. It must exit with status 0."""
    def client(path):
        done = subprocess.run([word.format(sock=path) for word in argv], capture_output=True,
                              timeout=ANSWER_TIMEOUT, stdin=subprocess.DEVNULL, check=False,
                              env={**os.environ, "LC_ALL": "C"})
        if done.returncode:
            raise Refused((done.stderr or done.stdout).decode(errors="replace").strip()[:80])
    return client


def http_get(path, url="/", okay=(200,)):
    """Sends one HTTP request on a new connection. okay lists the accepted statuses."""
    connection = _HTTP(path)
    try:
        connection.request("GET", url, headers={"Connection": "close"})
        response = connection.getresponse()
        response.read()
        if response.status not in okay:
            raise Refused(f"HTTP status {response.status}")
    finally:
        connection.close()


def xml_rpc(method):
    """A client that calls a method by XML-RPC."""
    def client(path):
        connection = _HTTP(path)
        try:
            connection.request("POST", "/RPC2", xmlrpc.client.dumps((), method),
                               {"Content-Type": "text/xml"})
            xmlrpc.client.loads(connection.getresponse().read())
        finally:
            connection.close()
    return client


def fastcgi(**params):
    """A client that sends a FastCGI responder request. The answer must be complete and have CGI
    headers."""
    def pair(name, value):
        return struct.pack(">II", len(name) | 1 << 31, len(value) | 1 << 31) + name + value

    def record(kind, body):
        return struct.pack(">BBHHBx", 1, kind, 1, len(body), 0) + body

    pairs = b"".join(pair(name.encode(), value.encode()) for name, value in params.items())
    request = record(1, struct.pack(">HB5x", 1, 0)) + record(4, pairs) + record(4, b"") + \
        record(5, b"")

    def client(path):
        with _connect(path) as connection:
            connection.sendall(request)
            answer = b""
            while True:
                _, kind, _, length, padding = struct.unpack(">BBHHBx", _exactly(connection, 8))
                body = _exactly(connection, length + padding)[:length]
                answer += body if kind == 6 else b""
                if kind == 3:
                    return _expect(answer, rb".*Content-[Tt]ype")
    return client


def mysql(path):
    """Logs in without a password and sends COM_PING."""
    with _connect(path) as connection:
        def receive():
            head = _exactly(connection, 4)
            return _exactly(connection, int.from_bytes(head[:3], "little"))

        def send(number, body):
            connection.sendall(len(body).to_bytes(3, "little") + bytes([number]) + body)

        _expect(receive(), rb"\x0a")
        send(1, struct.pack("<IIB23x", 0x8200, 1 << 24, 33) + b"root\0" + b"\0")
        _expect(receive(), rb"\x00")
        send(0, b"\x0e")
        _expect(receive(), rb"\x00")
        send(0, b"\x01")


def postgresql(user, database):
    """A client that logs in without a password and waits until the server accepts queries."""
    words = b"\0".join([b"user", user.encode(), b"database", database.encode(), b"", b""])
    startup = struct.pack(">II", 8 + len(words), 3 << 16) + words

    def client(path):
        with _connect(path) as connection:
            connection.sendall(startup)
            while True:
                kind, length = struct.unpack(">cI", _exactly(connection, 5))
                body = _exactly(connection, length - 4)
                if kind == b"E":
                    raise Refused(body.decode(errors="replace")[:80])
                if kind == b"Z":
                    connection.sendall(b"X\0\0\0\x04")
                    return
    return client


def lmtp(path):
    """Greeting, LHLO, QUIT."""
    with _connect(path) as connection:
        _line(connection, rb"220 ")
        connection.sendall(b"LHLO client\r\n")
        _answer(connection, rb"(250-[^\n]*\n)*250 [^\n]*\n")
        connection.sendall(b"QUIT\r\n")
        _line(connection, rb"221 ")


def milter(path):
    """Option negotiation."""
    with _connect(path) as connection:
        connection.sendall(struct.pack(">IcIII", 13, b"O", 6, 0x1ff, 0x1fffff))
        length = struct.unpack(">I", _exactly(connection, 4))[0]
        _expect(_exactly(connection, length), b"O")
        connection.sendall(struct.pack(">Ic", 1, b"Q"))


def saslauthd(path):
    """Requests a password check. Both results are accepted."""
    words = (b"nobody", b"wrong", b"matrix", b"")
    with _connect(path) as connection:
        connection.sendall(b"".join(struct.pack(">H", len(word)) + word for word in words))
        length = struct.unpack(">H", _exactly(connection, 2))[0]
        _expect(_exactly(connection, length), rb"OK|NO")


def x11(path):
    """Connection setup of an X client."""
    with _connect(path) as connection:
        connection.sendall(struct.pack("<cxHHHHxx", b"l", 11, 0, 0, 0))
        _expect(_exactly(connection, 8), rb"\x01")


def agentx(path):
    """Opens an AgentX session and closes it."""
    name = struct.pack(">I", 6) + b"matrix\0\0"
    body = struct.pack(">B3x", 5) + struct.pack(">4x") + name
    with _connect(path) as connection:
        connection.sendall(struct.pack(">BBBxIIII", 1, 1, 0x10, 0, 0, 1, len(body)) + body)
        head = struct.unpack(">BBBxIIII", _exactly(connection, 20))
        if head[1] != 18:
            raise Refused(f"AgentX PDU {head[1]}")
        answer = _exactly(connection, head[6])
        if struct.unpack(">IHH", answer[:8])[1]:
            raise Refused("AgentX error")


def mqtt(path):
    """CONNECT, CONNACK, DISCONNECT."""
    with _connect(path) as connection:
        body = b"\0\x04MQTT\x04\x02\0\x3c\0\0"
        connection.sendall(bytes([0x10, len(body)]) + body)
        _expect(_exactly(connection, 4), rb"\x20\x02.\x00")
        connection.sendall(b"\xe0\0")


def gunicorn_control(path):
    """Asks for the list of workers, in JSON after its length."""
    with _connect(path) as connection:
        request = json.dumps({"id": 1, "command": "show workers", "args": []}).encode()
        connection.sendall(struct.pack(">I", len(request)) + request)
        length, = struct.unpack(">I", _exactly(connection, 4))
        if json.loads(_exactly(connection, length))["status"] != "ok":
            raise Refused("status is not ok")


def echo(path):
    """The server sends the request back."""
    with _connect(path) as connection:
        connection.sendall(b"matrix\n")
        _expect(_exactly(connection, 7), b"matrix\n")


def datagram_to(log, message="<13>{token}"):
    """A client of a datagram server: the datagram must appear in the server's file.

    log is a pattern of the file's name, with {run} for the socket path's directory.
    """
    def client(path):
        token = f"matrix-{os.urandom(8).hex()}"
        with _connect(path, socket.SOCK_DGRAM) as connection:
            connection.send(message.format(token=token).encode())
        deadline = time.monotonic() + ANSWER_TIMEOUT
        while time.monotonic() < deadline:
            for name in glob.glob(log.format(run=os.path.dirname(path))):
                with open(name, encoding="utf-8", errors="replace") as file:
                    if token in file.read():
                        return
            time.sleep(0.01)
        raise Refused("the message did not arrive")
    return client


def http2(path):
    """Sends the connection preface and SETTINGS, like the start of a gRPC connection."""
    with _connect(path) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0")
        _expect(_exactly(connection, 9), rb"...\x04")


redis = says(b"PING\r\n", rb"\+PONG")
memcached = says(b"version\r\n", rb"VERSION ")
clamd = says(b"zPING\0", rb"PONG\0")
spamd = says(b"PING SPAMC/1.5\r\n\r\n", rb"SPAMD/[\d.]+ 0 PONG")
postfix_policy = says(b"request=smtpd_access_policy\nprotocol_state=RCPT\nsender=a@b.c\n"
                      b"recipient=d@e.f\nclient_address=192.0.2.1\nclient_name=x\n\n", rb"action=")
dbus = says(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n", rb"OK ")
nbd = says(b"", rb"NBDMAGICIHAVEOPT")
ssh_agent = says(b"\0\0\0\x01\x0b", rb"\0\0\0.\x0c")
assuan = says(b"GETINFO version\n", rb"D \d", greeting=rb"OK ")
mpd = says(b"ping\n", rb"OK\n", greeting=rb"OK MPD ")
bird = says(b"show status\n", rb"1000-BIRD", greeting=rb"0001 BIRD")
qmp = says(b'{"execute": "qmp_capabilities"}\n', rb'\{"return"', greeting=rb'\{"QMP"')
beanstalkd = says(b"list-tubes\r\n", rb"OK \d")
unbound = says(b"UBCT1 status\n", rb"version: ")
connects = says(b"", None)
