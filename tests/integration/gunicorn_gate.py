"""gunicorn's configuration for a start at the same instant: each waits here before it binds.

The gate is a FIFO: opening it to read blocks until somebody opens it to write, and that lets
everybody through at once.
"""

import os


def on_starting(server):
    """Called by the arbiter when all is loaded and no socket is bound yet."""
    server.log.info("At the gate")
    with open(os.environ["GATE"], "rb"):
        pass
