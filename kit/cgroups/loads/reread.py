"""Read a file from start to end, again and again: reread.py PATH.

What has been read stays in the page cache, on the group's account. Where the file does not fit there the
kernel throws out what will be needed soon, and each round goes to the disk.
"""

import sys

with open(sys.argv[1], "rb", buffering=0) as file:
    while True:
        file.seek(0)
        while file.read(1 << 18):
            pass
