"""Print a growing number, again and again: tick.py [PER_SECOND]."""

import sys
import time

pause = 1 / float(sys.argv[1]) if len(sys.argv) > 1 else 0.05
n = 0
while True:
    n += 1
    print(n, flush=True)
    time.sleep(pause)
