"""A task of Celery that does nothing, and how it is kept: see CONFIGURATION.

`celery --app tasks worker` runs it; `drive.py` sends it.
"""

import os

from celery import Celery

REDIS = os.environ["BENCH_REDIS"]

# What `workflow` names as the durability of this side: a task leaves the queue when it is done, a chain's
# results stand in Redis, and Redis writes its log to disk once a second (see how the bench starts it).
CONFIGURATION = {
    "broker_url": REDIS,
    "result_backend": REDIS,
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "broker_connection_retry_on_startup": True,
    "task_serializer": "json",
    "result_serializer": "json",
    "accept_content": ["json"],
    "worker_send_task_events": False,
    "worker_enable_remote_control": False,
    "result_expires": 600,
}

app = Celery("tasks")
app.conf.update(CONFIGURATION)


@app.task(name="step")
def step(before, nth):
    """One step of a chain: what the one before gave, and its own number."""
    return nth
