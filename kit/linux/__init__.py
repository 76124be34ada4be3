"""The ground floor: the kernel's own interfaces, one file per idea, each naming the manual page that it
wraps.

No policy and no printing here, and nothing of the rest of the kit is imported.
"""
