"""Trainings in processes of their own, which the system may kill."""

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import torch
from tqdm.auto import tqdm


def in_a_process(train, *arguments, kill_at: Path | None = None):
    """Runs `train` in a fork of this process and returns its exit code.

    Args:
        train: is called with the arguments.
        arguments: for `train`.
        kill_at: A file; when it is there, the process is killed.
    """

    def run():
        tqdm.set_lock(threading.RLock())  # forks share tqdm's own, which a killed one may hold
        torch.set_num_threads(1)
        if kill_at is not None:
            threading.Thread(target=_kill, args=(kill_at,), daemon=True).start()
        train(*arguments)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(200)
    return process.exitcode


def _kill(path):
    while not path.exists():
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)
