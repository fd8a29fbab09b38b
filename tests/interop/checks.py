"""Runs the checks of a file: its coroutines whose names begin with `check_`, one after another."""
import asyncio
import os
import sys
import time
import traceback

PORT = int(os.environ["PORT"])
HTTP = f"http://127.0.0.1:{PORT}"
WS = f"ws://127.0.0.1:{PORT}"
SECONDS_MAX = 60


def run(checks):
    failed = 0
    for name, check in list(checks.items()):
        if not name.startswith("check_"):
            continue
        sentence = name.removeprefix("check_").replace("_", " ")
        began = time.monotonic()
        try:
            asyncio.run(asyncio.wait_for(check(), SECONDS_MAX))
        except Exception:
            failed += 1
            print(f"FAILED  {sentence}\n{traceback.format_exc()}")
        else:
            print(f"ok      {sentence} ({time.monotonic() - began:.2f} s)")
    sys.exit(1 if failed else 0)
