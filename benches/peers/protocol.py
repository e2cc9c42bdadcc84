"""How a peer talks to the benchmark: one command a line on standard input, one line of JSON as the answer.

    version                      → the library's version
    load     W1 FILE             → reads the inputs (safetensors, unless the peer says otherwise)
    outputs  W1 FILE             → does the work once from the start and writes what comes out
    run      W1 WARM_UP CALLS    → resets, calls WARM_UP times untimed and CALLS times timed; the times in ms
    quit

Words are separated by tabs. An answer is {"ok": …} or {"error": message}. Import this module before the library.
"""

import gc
import json
import os
import sys
import time

THREADS = int(sys.argv[1])
STEPS = 5  # of training, before the outputs are compared

# What a library prints must not become an answer.
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)


class Workload:
    """What is timed: `call`. A workload is made from its inputs, a dictionary of numpy arrays."""

    def reset(self):
        """Back to the start, so that every turn does the same."""

    def call(self):
        """One call, done when it returns; its result."""

    def outputs(self):
        """What comes out of it: numpy arrays by name."""


def timed(workload, warm_up, calls):
    workload.reset()
    for _ in range(warm_up):
        workload.call()
    times = []
    gc.collect()
    gc.disable()  # as timeit does
    for _ in range(calls):
        start = time.perf_counter()
        workload.call()
        times.append(1e3 * (time.perf_counter() - start))
    gc.enable()
    return times


def arrays():
    """How inputs are read and outputs written: as safetensors."""
    import numpy as np
    from safetensors.numpy import load_file, save_file

    def save(outputs, file):
        # As float32, contiguous and writable, which the format asks for.
        save_file({name: np.array(x, dtype=np.float32, order="C") for name, x in outputs.items()}, file)

    return load_file, save


def serve(version, makers, files=None):
    """Answers commands until `quit`. `makers` maps a workload's name to a function of its inputs; `files` are how to read and write."""
    load, save = files or arrays()
    ready = {}
    for line in sys.stdin:
        command, *words = line.rstrip("\n").split("\t")
        try:
            result = None
            if command == "quit":
                return
            elif command == "version":
                result = version
            elif command == "load":
                ready[words[0]] = makers[words[0]](load(words[1]))
            elif command == "outputs":
                save(ready[words[0]].outputs(), words[1])
            elif command == "run":
                result = timed(ready[words[0]], int(words[1]), int(words[2]))
            else:
                raise ValueError(f"no such command: {command}")
            print(json.dumps({"ok": result}), file=answers)
        except Exception as error:
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers)
