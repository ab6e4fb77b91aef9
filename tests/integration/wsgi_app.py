"""The web application that the tests' gunicorn serves. It answers with its instance and worker."""

import os


def application(environ, start_response):
    """Answers every request with "INSTANCE PID": $INSTANCE, and the worker's process ID."""
    body = f"{os.environ['INSTANCE']} {os.getpid()}\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
