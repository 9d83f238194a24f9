"""Says whether a timed check was fair: one sleeper on each core notes the longest time it was kept from running."""
import multiprocessing
import os
import time

PERIOD = 0.01


def _sleeper(core, worst, stop):
    try:
        os.sched_setaffinity(0, {core})
    except OSError:
        pass
    last = time.monotonic()
    while not stop.value:
        time.sleep(PERIOD)
        now = time.monotonic()
        worst.value = max(worst.value, now - last - PERIOD)
        last = now


class Watchdog:
    def __init__(self):
        self.stop = multiprocessing.Value("b", 0)
        cores = sorted(os.sched_getaffinity(0))
        self.worst = [multiprocessing.Value("d", 0.0) for _ in cores]
        self.sleepers = [multiprocessing.Process(target=_sleeper, args=(core, worst, self.stop), daemon=True)
                         for core, worst in zip(cores, self.worst)]
        for s in self.sleepers:
            s.start()

    def reset(self):
        for w in self.worst:
            w.value = 0.0

    def gap(self):
        """The longest gap in seconds since reset()."""
        return max(w.value for w in self.worst)

    def close(self):
        self.stop.value = 1
        for s in self.sleepers:
            s.join(2)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
