"""memberstream: the worker as `memberstream worker` runs it, in the contract of the peers.

Guarantees: state in RocksDB with an acknowledged changelog, each change applied once, guarded writes to Redis.
The only line that a worker doesn't have is the one that prints FIRST, before the first records are decoded.
"""

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

from bench.job import model_files
from memberstream.models.model_file import parse
from memberstream.stream.authoring.publishing import Publishing
from memberstream.stream.cli import main
from memberstream.stream.members.pipeline import Pipeline
from memberstream.stream.settings import Settings, to_environment

_handle = Pipeline.handle


async def _first(self: Pipeline, *batch: Any) -> None:
    print(f"FIRST {time.time_ns()}", flush=True)
    Pipeline.handle = _handle  # type: ignore[method-assign]
    await _handle(self, *batch)


if __name__ == "__main__":
    state = Path(os.environ["STATE_DIR"])
    settings = Settings(
        kafka_bootstrap=(os.environ["BOOTSTRAP"],),
        topic=os.environ["TOPIC"],
        group=os.environ["GROUP"],
        redis_url=os.environ["REDIS_URL"],
        data_dir=state / "data",
        replication_factor=1,
        metrics_port=0,
    )
    asyncio.run(Publishing(settings, "bench").install(parse(model) for model in model_files().values()))
    os.environ.update(to_environment(settings))
    Pipeline.handle = _first  # type: ignore[method-assign, assignment]
    sys.argv = ["memberstream", "worker"]
    main()
