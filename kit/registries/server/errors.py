"""How the server says no, with the codes and the form of the OCI distribution-spec, "Error Codes"."""

from __future__ import annotations

from collections.abc import Mapping

#: Each code of the specification, and the HTTP status that goes with it unless another is said.
STATUS = {
    "BLOB_UNKNOWN": 404,
    "BLOB_UPLOAD_INVALID": 400,
    "BLOB_UPLOAD_UNKNOWN": 404,
    "DIGEST_INVALID": 400,
    "MANIFEST_BLOB_UNKNOWN": 404,
    "MANIFEST_INVALID": 400,
    "MANIFEST_UNKNOWN": 404,
    "NAME_INVALID": 400,
    "NAME_UNKNOWN": 404,
    "SIZE_INVALID": 400,
    "UNAUTHORIZED": 401,
    "DENIED": 403,
    "UNSUPPORTED": 405,
    "TOOMANYREQUESTS": 429,
    "UNKNOWN": 500,  # this one is Docker's: what is not the client's fault has no code in the specification
}


class ErrorAnswer(Exception):
    """An answer that says no: ``code`` as the specification names it, ``what`` is wrong, in a sentence.

    ``status`` is HTTP's, ``detail`` goes into the answer's body as it is, ``headers`` to the others.
    """

    def __init__(
        self,
        code: str,
        what: str,
        *,
        status: int = 0,
        detail: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code}: {what}")
        self.code, self.what, self.detail = code, what, detail
        self.status = status or STATUS[code]
        self.headers = dict(headers or {})

    def body(self) -> dict[str, object]:
        """The JSON object that the specification asks for."""
        error = {"code": self.code, "message": self.what, "detail": self.detail}
        return {"errors": [{key: value for key, value in error.items() if value is not None}]}
