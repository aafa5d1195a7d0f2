"""An arq worker; the token becomes the job's result. It ends when the queue is empty."""

import os

from arq import run_worker
from arq.connections import RedisSettings

import service


async def solve(ctx: dict, website_url: str, website_key: str) -> str:
    return await service.solve(ctx["http"], website_url, website_key)


async def startup(ctx: dict) -> None:
    ctx["http"] = service.session()


async def shutdown(ctx: dict) -> None:
    await ctx["http"].close()


class WorkerSettings:
    functions = [solve]
    redis_settings = RedisSettings.from_dsn(os.environ["REDIS_URL"])
    max_jobs = int(os.environ["IN_FLIGHT"])
    # One try: a job that fails here is a fault of the measurement.
    max_tries = 1
    on_startup = startup
    on_shutdown = shutdown


# The command `arq` would log two lines a job; without it nothing sets up the log.
worker = run_worker(WorkerSettings, burst=True)
if worker.jobs_failed:
    raise SystemExit(f"{worker.jobs_failed} jobs failed")
