"""Protections of the server: headers against framing, sniffing and foreign content, names of hosts, and a token."""

import hmac
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "mulan_token"
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""What a page of the server may load: nothing from other hosts, and no scripts or styles inside the page."""
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
}
"""Headers of every answer."""
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods whose answers pages of other servers cannot read, and that cost no more than that."""
OPEN_PATHS = frozenset({"/healthz"})
"""Paths that need no token."""


class Protected:
    """An ASGI application with the protections, of which each applies to every path."""

    def __init__(self, application: Application, *, token: str, hosts: Sequence[str]) -> None:
        """
        Args:
            application: What is protected.
            token: What clients have to send; empty if they need not.
            hosts: Names by which clients may call the server; empty for any.
        """
        self._application, self._token, self._hosts = application, token, frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        answer = self._application if (refusal := self._refusal(scope)) is None else refusal
        await answer(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if self._hosts and _name_of_host(headers.get("host", "")) not in self._hosts:
            return _refused(421, "the server does not answer to this name; start it with --host-name NAME")
        if scope["method"] not in _SAFE_METHODS and _is_from_elsewhere(headers):
            return _refused(403, "the request comes from a page of another server")
        if not self._token or scope["path"] in OPEN_PATHS:
            return None
        query = scope["query_string"].decode("latin-1").replace("+", "%2B")  # which a token may contain
        (given,) = parse_qs(query).get("token", [""])[:1]
        if scope["method"] == "GET" and scope["path"] == "/" and _is_equal(given, self._token):
            response = RedirectResponse("/", 303)  # so that the token is not in the address of the page
            response.set_cookie(COOKIE, self._token, httponly=True, samesite="lax", secure=scope["scheme"] == "https")
            return response
        if self._is_known(headers):
            return None
        refusal = _refused(401, "a token is needed: open /?token=TOKEN, or send the header Authorization: Bearer TOKEN")
        refusal.headers["WWW-Authenticate"] = "Bearer"
        return refusal

    def _is_known(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and _is_equal(given.strip(), self._token):
            return True
        # not http.cookies, which ignores all cookies after one of another server of this machine that it cannot parse
        return _is_equal(cookie_parser(headers.get("cookie", "")).get(COOKIE, ""), self._token)


def _is_from_elsewhere(headers: Headers) -> bool:
    """Returns whether a browser says that a page of another server has caused a request."""
    origin = headers.get("origin")
    try:
        return origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    except ValueError:  # it is no address
        return True


def _is_equal(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())  # in a time that does not tell how much is right


def _name_of_host(header: str) -> str:
    name, bracket, _ = header.partition("]")  # an IPv6 address
    return (name + bracket if bracket else header.partition(":")[0]).lower()


def _refused(status: int, detail: str) -> Response:
    return JSONResponse({"detail": detail}, status)
