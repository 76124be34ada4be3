"""What can go wrong with an image, as errors that say what, where and what to do."""

from __future__ import annotations

AGAIN = "Get it again from where it came."  # the remedy for what was damaged


class ImageError(Exception):
    """Any refusal that concerns images.

    ``what`` is wrong, ``where`` is the file, blob or name that it was found in, ``remedy`` says what to do.
    The subclasses are a ValueError, LookupError or OSError as well, as fits.
    """

    def __init__(self, what: str, where: object = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = str(where)
        self.remedy = remedy

    def __str__(self) -> str:
        text = f"{self.what} ({self.where})" if self.where else self.what
        return f"{text}. {self.remedy}" if self.remedy else text


class BadReference(ImageError, ValueError):
    """A name that no image can have; the message says which part of it and why."""


class BadDescriptor(ImageError, ValueError):
    """A descriptor, or its digest, that the specification does not allow."""


class BadManifest(ImageError, ValueError):
    """A manifest, index or configuration that is malformed, too large, or points to itself."""


class BadArchive(ImageError, ValueError):
    """An archive or directory that holds no image in a layout that the kit reads, or a hostile member."""


class UnknownImage(ImageError, LookupError):
    """No image of that name in the store."""


class NoSuchPlatform(ImageError, LookupError):
    """The index holds no image for the platform that was asked for."""


class BlobMissing(ImageError, OSError):
    """The store has no blob with that digest."""


class BlobCorrupt(ImageError, OSError):
    """The bytes are not what the digest or the size says: cut short, too long, or changed."""


class StoreBusy(ImageError, BlockingIOError):
    """Another program is writing to the store."""


class LayerCorrupt(ImageError, OSError):
    """A layer that ends early, holds bytes after its end, or whose diff id is not the one promised."""


class HostileLayer(ImageError, ValueError):
    """A layer that reaches out of its directory, or is over the limits; nothing was written outside."""
