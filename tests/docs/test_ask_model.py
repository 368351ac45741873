"""The example that asks a language model: the very code of the page, with a server of ours in place of a model."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from programs import parse, zoo

from search.store import Store

from tests.support.blocks import ROOT, blocks_of
from tests.support.searches import PretendingEvaluator, opened, rows_of_query, run, settings_of

PAGE = ROOT / "docs" / "outside_proposals.md"
SAID = """Two ideas.

```python
def train(w, g, m, v, lr):
    m = interp(g, m, 0.95)  # slower
    update = sign(m)
    update = update * lr
    return update, m, v
```

And the other, which uses what you do not have:

```
import torch
```
```text
g2 = square(g)
v = interp(g2, v, 0.99)
v2 = sqrt(v)
update = g / v2
update = update * lr
```
That is all."""

Said = Callable[[], tuple[int, Any]]


class Model:
    """Answers on the loopback as a model would. `said` gives a status and what is sent with it."""

    def __init__(self, said: Said) -> None:
        self.asked: list[tuple[str, str | None, dict[str, Any]]] = []
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                model.asked.append((self.path, self.headers["Authorization"], json.loads(body)))
                status, answer = said()
                sent = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/"

    @contextmanager
    def serving(self) -> Iterator[None]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


def completion(text: str) -> dict[str, Any]:
    return {"object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}


@pytest.fixture(autouse=True)
def _example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example as a module, and no proxy between it and the server."""
    (block,) = [block for block in blocks_of(PAGE) if (block.marker, block.value) == ("file", "ask_model.py")]
    (tmp_path / "ask_model.py").write_text(block.text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("MODEL_NAME", "some-model")
    monkeypatch.setenv("MODEL_KEY", "secret")
    monkeypatch.setenv("no_proxy", "*")
    yield
    sys.modules.pop("ask_model", None)


def searched(store: Store, model: Model, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a search has kept of the model's answers."""
    monkeypatch.setenv("MODEL_URL", model.url)
    proposals = {"call": "ask_model:propose", "every": 30}
    with model.serving():
        run(settings_of(strategy={"kind": "evolution", "proposals": proposals}, baselines=["adamw"]), store,
            PretendingEvaluator())  # fmt: skip
    assert rows_of_query(store, "SELECT COUNT(*) AS births FROM program") == [{"births": 100}]
    return rows_of_query(store, "SELECT birth, number, text, problem FROM v_proposals")


def test_it_asks_a_model_and_takes_its_code_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(lambda: (200, completion(SAID)))
    with opened(tmp_path / "r.db") as store:
        rows = searched(store, model, monkeypatch)
        born = rows_of_query(store, "SELECT genome FROM program WHERE mutation = 'outside' ORDER BY birth")
    assert len(model.asked) == 3 and len(rows) == 9
    first, refused, last = rows[:3]
    assert first["problem"] is None and last["problem"] is None and "expected an assignment" in refused["problem"]
    assert [row["genome"] for row in born] == [str(parse(row["text"])) for row in (first, last)] * 3

    path, key, body = model.asked[-1]
    assert path == "/v1/chat/completions" and key == "Bearer secret" and body["model"] == "some-model"
    (message,) = body["messages"]
    told = message["content"]
    assert message["role"] == "user" and "Write 8 programs" in told and "'digits_mlp'" not in told
    for part in ("digits_mlp", "interp(x, y, a): (1 - a) x + a y", '"max_statements": 64', "import torch", "adamw",
                 json.dumps(zoo.load("sgd_momentum").as_function())[1:40], "return update, m, v"):  # fmt: skip
        assert part in told, part


@pytest.mark.parametrize(
    ("status", "answer", "problem"),
    [
        (200, completion("I have no ideas today."), "the answer is an empty list"),
        (500, b"overloaded", "it ended with code 1: urllib.error.HTTPError: HTTP Error 500: Internal Server Error"),
        (
            200,
            b"<html>",
            "it ended with code 1: json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
        ),
        (200, {"error": "no such model"}, "it ended with code 1: KeyError: 'choices'"),
        (200, {"choices": []}, "it ended with code 1: IndexError: list index out of range"),
        (200, {"choices": [{"message": {"content": None}}]}, "it ended with code 1: TypeError: expected string or"),
    ],
    ids=str,
)
def test_a_model_that_fails_does_not_end_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, answer: Any, problem: str
) -> None:
    with opened(tmp_path / "r.db") as store:
        rows = searched(store, Model(lambda: (status, answer)), monkeypatch)
    assert len(rows) == 3
    for row in rows:
        assert row["text"] is None and row["problem"].startswith(problem), row["problem"]


def test_without_an_endpoint_the_search_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(lambda: (200, completion(SAID)))
    with model.serving():
        pass  # and now nobody listens there
    model_url = model.url
    with opened(tmp_path / "r.db") as store:
        monkeypatch.setenv("MODEL_URL", model_url)
        proposals = {"call": "ask_model:propose", "every": 50}
        run(settings_of(strategy={"kind": "evolution", "proposals": proposals}), store, PretendingEvaluator())
        (row,) = rows_of_query(store, "SELECT text, problem FROM v_proposals")
    assert row["text"] is None and "Connection refused" in row["problem"]
