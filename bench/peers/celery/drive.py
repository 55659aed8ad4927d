"""Sends chains of `tasks.step` at a fixed rate, open loop, and says when each has ended.

Lines of JSON on standard output:

    {"said": "measured"}                          the warm-up has been sent
    {"said": "ended", "nth": 7, "late_us": 5120}  chain 7 ended so long after it was meant to leave
    {"said": "done", "failed": 0}                 every chain ended, or patience did; what waits is dropped

Latency counts from the intended time of each, warm-up included; who reads it leaves that out. It decides
nothing about what is too late.
"""

import argparse
import json
import sys
import threading
import time

import redis
from celery import chain

from tasks import REDIS, app, step

# Where Celery's backend tells that a task has ended.
RESULTS = "celery-task-meta-"
# How often a reader looks whether it should stop, in seconds.
LOOK = 0.05


def say(line):
    """Writes one line, which arrives at once."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flight", type=int, required=True, help="opens the ids of the chains")
    parser.add_argument("--steps", type=int, required=True, help="tasks of a chain")
    parser.add_argument("--rate", type=int, required=True, help="chains a second")
    parser.add_argument("--total", type=int, required=True, help="chains, warm-up included")
    parser.add_argument("--warm", type=int, required=True, help="how many of them warm up")
    parser.add_argument("--patience", type=float, required=True, help="seconds after the last")
    return parser.parse_args()


class Endings:
    """Hears of the last task of each chain, on a thread of its own."""

    def __init__(self, asked):
        self.asked = asked
        self.began = None
        self.ended = 0
        self.failed = 0
        self.stop = threading.Event()
        self.heard = redis.Redis.from_url(REDIS).pubsub(ignore_subscribe_messages=True)
        self.heard.psubscribe(RESULTS + "*")
        # The answer to the subscription: from here on nothing is missed.
        self.heard.get_message(timeout=5)
        self.thread = threading.Thread(target=self.run, name="endings", daemon=True)

    def run(self):
        last = f"{RESULTS}b{self.asked.flight}-".encode()
        while not self.stop.is_set():
            message = self.heard.get_message(timeout=LOOK)
            if message is None or not message["channel"].startswith(last):
                continue
            at = time.monotonic()
            nth = int(message["channel"][len(last) :])
            if json.loads(message["data"])["status"] != "SUCCESS":
                self.failed += 1
                continue
            late = at - self.began - nth / self.asked.rate
            say({"said": "ended", "nth": nth, "late_us": max(1, round(late * 1e6))})
            self.ended += 1


def main():
    asked = arguments()
    endings = Endings(asked)
    endings.began = time.monotonic()
    endings.thread.start()
    for nth in range(asked.total):
        due = endings.began + nth / asked.rate
        wait = due - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        if nth == asked.warm:
            say({"said": "measured"})
        steps = [step.s(None, 0), *(step.s(each) for each in range(1, asked.steps))]
        work = chain(steps) if asked.steps > 1 else steps[0]
        # The id of the last task; the others have whatever Celery gives them.
        work.apply_async(task_id=f"b{asked.flight}-{nth}")
    until = time.monotonic() + asked.patience
    while endings.ended + endings.failed < asked.total and time.monotonic() < until:
        time.sleep(0.005)
    # Whatever comes twice comes soon after.
    time.sleep(0.2)
    endings.stop.set()
    endings.thread.join()
    if endings.ended < asked.total:
        # The next flight begins with an empty queue.
        app.control.purge()
    say({"said": "done", "failed": endings.failed})


main()
