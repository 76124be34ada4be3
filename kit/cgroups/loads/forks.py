"""Make children as fast as possible: forks.py MOST. A fork bomb that knows when to stop.

Prints one line of JSON, {"made": how many, "refused": the kernel's answer or null}, then waits to be killed.
"""

import errno
import json
import os
import signal
import sys

made, refused = 0, None
for _ in range(int(sys.argv[1])):
    try:
        pid = os.fork()
    except OSError as error:
        refused = errno.errorcode[error.errno or 0]
        break
    if pid == 0:
        signal.pause()
    made += 1
print(json.dumps({"made": made, "refused": refused}), flush=True)
signal.pause()
