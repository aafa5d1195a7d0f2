"""Enqueues COUNT jobs before the clock starts. Their ids are those of the rows."""

import asyncio
import os

from arq import create_pool
from arq.connections import RedisSettings


async def main() -> None:
    pool = await create_pool(RedisSettings.from_dsn(os.environ["REDIS_URL"]))
    url, key = os.environ["WEBSITE_URL"], os.environ["WEBSITE_KEY"]
    for n in range(int(os.environ["COUNT"])):
        await pool.enqueue_job("solve", f"{url}{n}", key, _job_id=f"row-{n}")
    await pool.aclose()


asyncio.run(main())
