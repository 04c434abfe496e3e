"""FastAPI, uvicorn and ONNX Runtime: the service of `tests/guests/http-infer` as a user of Python
would write it. Each worker process has its own models, each run on one thread.

Usage: fastapi_server.py DOUBLE.onnx MAGIKA.onnx WORKERS
It serves on a port of its own choice, which uvicorn logs.
"""

import os
import sys

import numpy
import onnxruntime
import uvicorn
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool

SEEN = 1024
PADDING = 256


def load(path: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def application() -> FastAPI:
    models = {name: load(os.environ[name]) for name in ("DOUBLE", "MAGIKA")}
    app = FastAPI()

    @app.post("/double")
    def double(rows: list[tuple[float, float]]) -> list[float]:
        given = numpy.asarray(rows, dtype=numpy.float32)
        return models["DOUBLE"].run(["y"], {"x": given})[0].flatten().tolist()

    def label(file: bytes) -> tuple[int, float]:
        tokens = numpy.full((1, 2 * SEEN), PADDING, dtype=numpy.int32)
        first = numpy.frombuffer(file[:SEEN], dtype=numpy.uint8)
        last = numpy.frombuffer(file[-SEEN:], dtype=numpy.uint8)
        tokens[0, : len(first)] = first
        tokens[0, 2 * SEEN - len(last) :] = last
        scores = models["MAGIKA"].run(None, {"bytes": tokens})[0][0]
        best = int(scores.argmax())
        return best, float(scores[best])

    @app.post("/file-type")
    async def file_type(request: Request) -> tuple[int, float]:
        return await run_in_threadpool(label, await request.body())

    return app


def main() -> None:
    os.environ["DOUBLE"], os.environ["MAGIKA"] = sys.argv[1:3]
    uvicorn.run(
        "fastapi_server:application",
        factory=True,
        host="127.0.0.1",
        port=0,
        workers=int(sys.argv[3]),
        access_log=False,
    )


if __name__ == "__main__":
    main()
