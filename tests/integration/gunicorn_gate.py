"""A gunicorn configuration that makes several instances bind at the same time.

Each instance opens the FIFO $GATE for reading before it binds. That open blocks until the test
opens the FIFO for writing, so all instances continue at once.
"""

import os


def on_starting(server):
    """gunicorn calls this hook after it has loaded the application, and before it binds."""
    server.log.info("Waiting at the gate")
    with open(os.environ["GATE"], "rb"):
        pass
