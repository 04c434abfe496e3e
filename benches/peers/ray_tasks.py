"""Ray: empty tasks on two workers. Prints one JSON line.

Usage: ray_tasks.py COUNT
"""

import json
import statistics
import sys
import time

import ray


def main() -> None:
    count = int(sys.argv[1])
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")

    @ray.remote
    def empty():
        return None

    ray.get([empty.remote() for _ in range(200)])
    begun = time.perf_counter()
    ray.get([empty.remote() for _ in range(count)])
    elapsed = time.perf_counter() - begun
    latencies = []
    for _ in range(300):
        begun_one = time.perf_counter()
        ray.get(empty.remote())
        latencies.append(time.perf_counter() - begun_one)
    print(json.dumps({
        "peer": "Ray",
        "version": ray.__version__,
        "tasks": count,
        "seconds": elapsed,
        "latency_median_ms": statistics.median(latencies) * 1e3,
        "latency_p99_ms": sorted(latencies)[int(len(latencies) * 0.99)] * 1e3,
    }))


main()
