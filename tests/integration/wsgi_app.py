"""The application under test: says which instance answers, and by which of its workers."""

import os


def application(environ, start_response):
    """Answers every request with "INSTANCE PID"."""
    body = f"{os.environ['INSTANCE']} {os.getpid()}\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
