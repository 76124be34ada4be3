"""Take memory step by step and keep it: memory.py MEBIBYTES [MEBIBYTES_PER_SECOND].

Only touched pages count: a program that merely asks for memory has not got any yet. So each page is written
to.
"""

import signal
import sys
import time

STEP = 1 << 20  # bytes

mebibytes, per_second = int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
kept = []
for _ in range(mebibytes):
    kept.append(bytearray(b"x") * STEP)
    if per_second:
        time.sleep(1 / per_second)
print(f"holding {mebibytes} MiB", flush=True)
signal.pause()
