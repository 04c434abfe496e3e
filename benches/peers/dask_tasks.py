"""Dask distributed: empty tasks on two single-threaded worker processes. Prints one JSON line.

Usage: dask_tasks.py COUNT
"""

import json
import statistics
import sys
import time

import distributed


def empty(_index):
    return None


def main() -> None:
    count = int(sys.argv[1])
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    )
    client = distributed.Client(cluster)
    client.gather(client.map(empty, range(-200, 0), pure=False))
    begun = time.perf_counter()
    client.gather(client.map(empty, range(count), pure=False))
    elapsed = time.perf_counter() - begun
    latencies = []
    for _ in range(300):
        begun_one = time.perf_counter()
        client.submit(empty, 0, pure=False).result()
        latencies.append(time.perf_counter() - begun_one)
    print(json.dumps({
        "peer": "Dask distributed",
        "version": distributed.__version__,
        "tasks": count,
        "seconds": elapsed,
        "latency_median_ms": statistics.median(latencies) * 1e3,
        "latency_p99_ms": sorted(latencies)[int(len(latencies) * 0.99)] * 1e3,
    }))
    client.close()
    cluster.close()


if __name__ == "__main__":
    main()
