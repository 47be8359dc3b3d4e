"""Work of a process that is started and ended by a test; imports nothing heavy."""

import os
import signal
import time


def killed_while_the_other_waits() -> None:
    """Work of two processes, the second of which is killed."""
    if os.environ["LOCAL_RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(120)
