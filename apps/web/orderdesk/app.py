"""The order desk over HTTP. Every answer says which box gave it, and is counted."""

from __future__ import annotations

from hmac import compare_digest
from typing import Any, TypeGuard

from flask import Flask, Response, abort, jsonify, render_template, request
from werkzeug.exceptions import RequestEntityTooLarge

from orderdesk.config import Config
from orderdesk.database import DatabaseUnavailable, Order, OrderBook, OutcomeUnknown
from orderdesk.metrics import TEXT_TYPE, Answers
from orderdesk.release import GOOD

KEY_MAX_CHARS = 100
ITEM_MAX_CHARS = 100
QUANTITY_MAX = 1_000
LIST_MAX = 100
# An order takes some hundred bytes. Without a limit, one large enough would be read until this box has no memory left.
BODY_MAX_BYTES = 65_536
# What users ask for, by the function that answers. A question about health is none.
COUNTED = {"place": "write", "read": "read", "latest": "read"}

Answer = tuple[Response, int]


def create_app(config: Config, book: OrderBook, release: str = GOOD) -> Flask:
    """The WSGI application; `release` is what it calls itself.

    POST /orders {key, item, quantity}: 201 after the commit; 400; 413 too large; 503 not placed; 504 outcome unknown.
    GET /orders/KEY: 200 or 404; GET /orders?limit=N: newest first; 503 when the database does not answer.
    GET /healthz: this process answers, and names its release; GET /readyz: its database answers too.
    GET /metrics: the answers so far, counted, for who comes with the password; else 404, as if there were no such page.
    """
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = BODY_MAX_BYTES
    answers = Answers()

    def answer(status: int, /, **body: Any) -> Answer:
        return jsonify(served_by=config.box, **body), status

    @app.after_request
    def say_who(response: Response) -> Response:
        response.headers["X-Served-By"] = config.box
        response.headers["Cache-Control"] = "no-store"
        if request.endpoint in COUNTED:
            answers.count(COUNTED[request.endpoint], response.status_code)
        return response

    @app.errorhandler(RequestEntityTooLarge)
    def too_large(_: RequestEntityTooLarge) -> Answer:
        return answer(413, error=f"the body must not be larger than {BODY_MAX_BYTES} bytes", outcome="not-placed")

    @app.errorhandler(DatabaseUnavailable)
    def unavailable(_: DatabaseUnavailable) -> Answer:
        return answer(503, error="the database does not answer", outcome="not-placed")

    @app.errorhandler(OutcomeUnknown)
    def unknown(_: OutcomeUnknown) -> Answer:
        return answer(504, error="the commit was not confirmed", outcome="unknown")

    @app.post("/orders")
    def place() -> Answer:
        try:
            key, item, quantity = parse_order(request.get_json(silent=True))
        except ValueError as error:
            return answer(400, error=str(error), outcome="not-placed")
        return answer(201, order=as_json(book.place(key, item, quantity)))

    @app.get("/orders/<key>")
    def read(key: str) -> Answer:
        orders = book.find(key) if is_text(key, KEY_MAX_CHARS) else []
        if not orders:
            return answer(404, error="no such order")
        return answer(200, orders=[as_json(order) for order in orders])

    @app.get("/orders")
    def latest() -> Answer:
        limit = request.args.get("limit", default=20, type=int)
        return answer(200, orders=[as_json(order) for order in book.latest(min(max(limit, 1), LIST_MAX))])

    @app.get("/healthz")
    def healthz() -> Answer:
        return answer(200, status="alive", release=release)

    @app.get("/readyz")
    def readyz() -> Answer:
        book.ping()
        return answer(200, status="ready")

    @app.get("/metrics")
    def metrics() -> Response:
        if not comes_with(config.metrics_password):
            abort(404)
        return Response(answers.text(), content_type=TEXT_TYPE)

    @app.get("/")
    def page() -> str:
        return render_template("index.html", box=config.box)

    return app


def comes_with(password: str) -> bool:
    """Whether this request has the password; none has one that is empty."""
    said = request.authorization.password if request.authorization else None
    return bool(password) and compare_digest((said or "").encode(), password.encode())


def parse_order(body: Any) -> tuple[str, str, int]:
    """The key, item and quantity of a posted order. Raises ValueError saying what is wrong."""
    if not isinstance(body, dict):
        raise ValueError("the body must be a JSON object with key, item and quantity")
    key, item, quantity = body.get("key"), body.get("item"), body.get("quantity", 1)
    if not is_text(key, KEY_MAX_CHARS) or "/" in key:
        raise ValueError(f"key must be text of 1 to {KEY_MAX_CHARS} characters, made by the client, without '/'")
    if not is_text(item, ITEM_MAX_CHARS):
        raise ValueError(f"item must be text of 1 to {ITEM_MAX_CHARS} characters")
    if not isinstance(quantity, int) or isinstance(quantity, bool) or not 0 < quantity <= QUANTITY_MAX:
        raise ValueError(f"quantity must be a whole number from 1 to {QUANTITY_MAX}")
    return key, item, quantity


def is_text(value: Any, max_chars: int) -> TypeGuard[str]:
    """Whether the database can hold it as text of 1 to `max_chars` characters (no NUL, no lone surrogate)."""
    if not isinstance(value, str) or not 0 < len(value) <= max_chars or "\0" in value:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)


def as_json(order: Order) -> dict[str, Any]:
    """An order as the API shows it."""
    return {
        "id": order.id,
        "key": order.key,
        "item": order.item,
        "quantity": order.quantity,
        "placed_by": order.placed_by,
        "placed_at": order.placed_at.isoformat(),
    }
