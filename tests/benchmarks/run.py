"""Runs all benchmarks and prints the table of `RESULTS.md`. Usage: run.py [name ...] [--quick]."""

import os
import platform
import sqlite3
import sys

from tests.benchmarks import (
    bench_append,
    bench_asof,
    bench_capture,
    bench_component,
    bench_digest,
    bench_emit,
    bench_hooks,
    bench_pipeline,
    bench_predictor,
    bench_readmodel,
    bench_reconcile,
    bench_replay,
    bench_replay_predictions,
    bench_trace,
    bench_triggers,
    bench_verify,
    bench_web,
)

BENCHES = {
    "append": bench_append.run,
    "verify": bench_verify.run,
    "replay": bench_replay.run,
    "asof": bench_asof.run,
    "readmodel": bench_readmodel.run,
    "replay-predictions": bench_replay_predictions.run,
    "emit": bench_emit.run,
    "capture": bench_capture.run,
    "hooks": bench_hooks.run,
    "reconcile": bench_reconcile.run,
    "pipeline": bench_pipeline.run,
    "digest": bench_digest.run,
    "component": bench_component.run,
    "predictor": bench_predictor.run,
    "trace": bench_trace.run,
    "triggers": bench_triggers.run,
    "web": bench_web.run,
}
QUICK_COUNT = 5_000


def main(arguments: list[str]) -> int:
    """Run the named benchmarks, or all."""
    quick = "--quick" in arguments
    names = [name for name in arguments if not name.startswith("--")] or list(BENCHES)
    unknown = set(names) - BENCHES.keys()
    if unknown:
        print(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
        return 2
    print(
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"{os.cpu_count()} cores, {platform.machine()}\n"
    )
    print("| what | ours | bare loop | ratio |\n|---|---|---|---|")
    for name in names:
        for result in BENCHES[name](QUICK_COUNT) if quick else BENCHES[name]():
            print("| " + " | ".join(result) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
