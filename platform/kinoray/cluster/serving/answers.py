"""What the server answers where it does not answer with scores: an HTTP status, a word for programs, one sentence."""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from starlette.responses import JSONResponse

from kinoray.errors import DataError, DecodeError

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_OF_VIDEO = {"slow": HTTPStatus.GATEWAY_TIMEOUT}
_OF_URL = {
    "missing": HTTPStatus.UNPROCESSABLE_ENTITY,
    "denied": HTTPStatus.UNPROCESSABLE_ENTITY,
    "slow": HTTPStatus.GATEWAY_TIMEOUT,
}


class RefusedError(Exception):
    """A request that gets no scores.

    Args:
        status: of HTTP.
        code: a word that stays the same from release to release.
        message: what is wrong, and what would be right.
        headers: that go along.
    """

    def __init__(self, status: HTTPStatus, code: str, message: str, headers: Mapping[str, str] = _NO_HEADERS) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, headers

    def response(self) -> JSONResponse:
        """As it is sent."""
        return JSONResponse(
            {"error": self.code, "message": str(self)}, status_code=self.status, headers=dict(self.headers)
        )


def refusal_of_video(problem: DataError | MemoryError) -> RefusedError:
    """What a video comes to that cannot be read; its error word is the reason in ``DecodeError``."""
    if isinstance(problem, MemoryError):
        return RefusedError(HTTPStatus.BAD_REQUEST, "memory", "the video: there is not enough memory for it")
    code = problem.reason if isinstance(problem, DecodeError) else "damaged"
    return RefusedError(_OF_VIDEO.get(code, HTTPStatus.BAD_REQUEST), code, str(problem))


def refusal_of_url(problem: DecodeError) -> RefusedError:
    """What a URL comes to whose content cannot be had."""
    status = _OF_URL.get(problem.reason, HTTPStatus.BAD_GATEWAY)
    return RefusedError(status, f"url_{problem.reason}", str(problem))


def too_large(num_bytes: int) -> RefusedError:
    """Of more bytes than are taken."""
    message = f"the video, got more than {num_bytes / 1e6:g} MB; send a shorter or smaller one"
    return RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", message)


def bad_request(message: str) -> RefusedError:
    """Of a request that does not say what it wants."""
    return RefusedError(HTTPStatus.BAD_REQUEST, "bad_request", message)


def json_response(content: Mapping[str, Any]) -> JSONResponse:
    """What went well."""
    return JSONResponse(dict(content))
