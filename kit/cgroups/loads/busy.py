"""Compute for ever, with no pause: a program like this takes as much of a CPU as it is given."""

n = 0
while True:
    n += 1
