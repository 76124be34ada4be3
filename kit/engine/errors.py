"""What the engine says no with: HTTP's status, and one sentence. See the Docker Engine API, "Errors"."""

from __future__ import annotations

from kit.images.build.errors import BadDockerfile
from kit.images.errors import BadReference, ImageError, StoreBusy, UnknownImage
from kit.registries.refusals import NotInRegistry, Unauthorized


class Refused(Exception):
    """A request that is not carried out: ``status`` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def bad(message: str) -> Refused:
    """400: the request can't be meant so."""
    return Refused(400, message)


def missing(message: str) -> Refused:
    """404: there is no such thing."""
    return Refused(404, message)


def conflict(message: str) -> Refused:
    """409: not in the state that it is in."""
    return Refused(409, message)


def status_of(error: Exception) -> int:
    """The status that goes with an error of any room of the kit."""
    match error:
        case Refused():
            return error.status
        case UnknownImage() | NotInRegistry():
            return 404
        case Unauthorized():
            return 401
        case BadReference() | BadDockerfile():
            return 400
        case StoreBusy():
            return 409
        case ImageError() | OSError():
            return 500
        case ValueError() | KeyError() | TypeError() | AttributeError():  # a document of another shape
            return 400
    return 500


def message_of(error: Exception) -> str:
    """An error as one line."""
    if isinstance(error, UnknownImage):
        return f"No such image: {error}"  # clients look for these words
    return " ".join(str(error).split()) or type(error).__name__
