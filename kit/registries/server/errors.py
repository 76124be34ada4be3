"""How the server says no: the OCI distribution-spec, "Error Codes"."""

from __future__ import annotations

from aiohttp import web

Headers = dict[str, str]


class ErrorAnswer(Exception):
    """An answer that says no: HTTP's ``status``, the specification's ``code``, and ``what`` is wrong.

    ``detail`` goes into the body as it is, ``headers`` to the others.
    """

    def __init__(
        self, status: int, code: str, what: str, detail: object = None, headers: Headers | None = None
    ) -> None:
        super().__init__(f"{code}: {what}")
        self.status, self.headers = status, headers
        self.error = {"code": code, "message": what, **({"detail": detail} if detail else {})}

    def response(self) -> web.Response:
        """As the specification has it."""
        return web.json_response({"errors": [self.error]}, status=self.status, headers=self.headers)
