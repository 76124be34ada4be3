"""Containers (chapter 06): an image, namespaces and a control group become a process.

    config = containers.config(image.config, cmd=["echo", "hello"])      # an OCI runtime-spec config.json
    with containers.start("c1", config, rootfs.path, stdout=fd, stderr=fd) as container:
        container.wait()

The document between the two is the seam of the standards: crun and runc run it as well.
"""

from kit.containers.config import config, user
from kit.containers.container import Container, start
from kit.containers.errors import BadConfig

__all__ = ["BadConfig", "Container", "config", "start", "user"]
