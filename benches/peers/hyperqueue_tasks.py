"""HyperQueue: the program `true` on one worker with two CPUs. Prints one JSON line.

HyperQueue runs processes, so its empty task is the start of one.

Usage: hyperqueue_tasks.py COUNT
"""

import importlib.metadata
import json
import statistics
import sys
import time

from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig


def run(client, count: int) -> float:
    job = Job()
    for _ in range(count):
        job.program(["/bin/true"], stdout=None, stderr=None)
    begun = time.perf_counter()
    client.wait_for_jobs([client.submit(job)])
    return time.perf_counter() - begun


def main() -> None:
    count = int(sys.argv[1])
    with LocalCluster() as cluster:
        cluster.start_worker(WorkerConfig(cores=2))
        client = cluster.client()
        run(client, 20)
        elapsed = run(client, count)
        latencies = [run(client, 1) for _ in range(50)]
        print(json.dumps({
            "peer": "HyperQueue",
            "version": importlib.metadata.version("hyperqueue"),
            "tasks": count,
            "seconds": elapsed,
            "latency_median_ms": statistics.median(latencies) * 1e3,
            "latency_p99_ms": sorted(latencies)[int(len(latencies) * 0.99)] * 1e3,
        }))


main()
