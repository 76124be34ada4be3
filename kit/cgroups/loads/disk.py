"""Read or write without the page cache: disk.py read|write PATH MEBIBYTES BLOCK_KIBIBYTES. See O_DIRECT in
open(2).

Direct I/O goes to the disk at once, in this process's name; buffered writes are done later by the kernel,
which in cgroup v1 nobody is charged for.
"""

import mmap
import os
import sys

what, path, size, block = (
    sys.argv[1],
    sys.argv[2],
    int(float(sys.argv[3]) * (1 << 20)),
    int(sys.argv[4]) << 10,
)
buffer = mmap.mmap(-1, block)  # direct I/O wants an aligned buffer: a mapping begins at a page
flags = os.O_RDONLY if what == "read" else os.O_WRONLY | os.O_CREAT
fd = os.open(path, flags | os.O_DIRECT, 0o600)
done = place = 0
while done < size:
    step = os.preadv(fd, [buffer], place) if what == "read" else os.pwritev(fd, [buffer], place)
    if step == 0 and place == 0:
        sys.exit(f"{path} is empty")
    done += step
    place = place + step if step == block else 0  # at the end: from the start again
print(f"{what} {done >> 20} MiB", flush=True)
