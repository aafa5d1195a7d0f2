"""What is written in an afternoon: a CSV file in, a CSV file out, a task per row."""

import asyncio
import csv
import os
import sys

import service


async def main(source: str, target: str) -> None:
    room = asyncio.Semaphore(int(os.environ["IN_FLIGHT"]))
    with open(source, newline="") as rows, open(target, "w", newline="") as results:
        writer = csv.writer(results)
        writer.writerow(["id", "token"])

        async def one(row: dict) -> None:
            try:
                token = await service.solve(http, row["website_url"], row["website_key"])
            finally:
                room.release()
            writer.writerow([row["id"], token])

        async with service.session() as http, asyncio.TaskGroup() as tasks:
            for row in csv.DictReader(rows):
                await room.acquire()
                tasks.create_task(one(row))


asyncio.run(main(*sys.argv[1:]))
