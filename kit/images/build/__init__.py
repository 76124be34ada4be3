"""Building an image from a Dockerfile: what it says, what it copies, what it runs. See its reference.

``build`` does it: text to stages (``dockerfile``, ``instruction``, ``expand``), a ``plan`` of these, and then
each of their ``steps``, found in the ``cache`` or carried out: files copied (``context``, ``place``),
programs run (``run``), settings noted (``metadata``).
"""

from kit.images.build.builder import build
from kit.images.build.errors import BadDockerfile, BuildFailed
from kit.images.build.events import Done, Event, Output, Started, Step, Warned
from kit.images.build.progress import Built, Printer

__all__ = [
    "BadDockerfile", "BuildFailed", "Built", "Done", "Event", "Output", "Printer", "Started", "Step",
    "Warned", "build",
]  # fmt: skip
