"""Work of processes that a test starts, without heavy imports."""

import os
import signal
import time


def killed_while_the_other_waits() -> None:
    """Work of two processes, the second of which is killed."""
    if os.environ["LOCAL_RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(120)
