"""A Flask application that keeps an entry of each order, at most LIMIT; 0 is without end."""

import importlib
import itertools
import os
from typing import Any

from flask import Flask

STORE: Any = importlib.import_module("limited" if int(os.environ["LIMIT"]) else "unlimited")

app = Flask(__name__)
NUMBERS = itertools.count()


@app.get("/healthz")
def healthz() -> str:
    return "ok"


@app.get("/orders/<int:number>")
def order(number: int) -> dict[str, int]:
    getattr(STORE, "in_" + os.environ["SHAPE"])(next(NUMBERS))
    return {"order": number}
