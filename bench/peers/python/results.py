"""Prints id and token of every job that is done, for the check after the run."""

import asyncio
import json
import os

from arq import create_pool
from arq.connections import RedisSettings


async def main() -> None:
    pool = await create_pool(RedisSettings.from_dsn(os.environ["REDIS_URL"]))
    tokens = {result.job_id: result.result for result in await pool.all_job_results() if result.success}
    await pool.aclose()
    print(json.dumps(tokens))


asyncio.run(main())
