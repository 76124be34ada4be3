"""Compute for a part of the time, sleep the rest: steady.py SHARE (0 to 1). It is content with that."""

import sys
import time

ROUND = 0.02  # seconds

share = float(sys.argv[1])
while True:
    end = time.process_time() + share * ROUND
    while time.process_time() < end:
        pass
    time.sleep((1 - share) * ROUND)
