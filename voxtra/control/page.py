"""The API's own pages: its OpenAPI document, and the same for people. Nothing is fetched from elsewhere."""

from __future__ import annotations

import html
import json
from typing import Any

from aiohttp import web

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1c2430 }
code, pre { font: 13px/1.5 ui-monospace, monospace } pre { background: #f4f5f7; padding: .8rem; overflow-x: auto }
summary { cursor: pointer; padding: .35rem 0 } details { border-bottom: 1px solid #e3e6ea } h2 { margin-top: 2rem }
.method { display: inline-block; width: 4.5rem; font-weight: 600 } .about { color: #5a6676; margin-left: .8rem }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .25rem .6rem .25rem 0;
vertical-align: top } @media (prefers-color-scheme: dark) { body { background: #14181d; color: #dfe5ec }
pre { background: #1d232b } details { border-color: #2b333d } .about { color: #93a1b1 } }
"""


class Pages:
    """Serves the document at ``/openapi.json``, and the page at ``/docs``."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = json.dumps(document, indent=1)
        self._page = render(document)

    def add(self, router: web.UrlDispatcher) -> None:
        """Say which."""
        router.add_get("/openapi.json", self._json)
        router.add_get("/docs", self._docs)

    async def _json(self, request: web.Request) -> web.Response:
        return web.Response(text=self._document, content_type="application/json")

    async def _docs(self, request: web.Request) -> web.Response:
        return web.Response(text=self._page, content_type="text/html")


def render(document: dict[str, Any]) -> str:
    """The document as one page of HTML."""
    info = document["info"]
    operations = [
        (method, path, each)
        for path, methods in document["paths"].items()
        for method, each in methods.items()
    ]
    parts = [
        f"<h1>{_text(info['title'])} {_text(info['version'])}</h1><p>{_text(info['description'])}</p>",
        "<p>For programs: <a href='/openapi.json'>openapi.json</a></p>",
    ]
    for tag in document["tags"]:
        parts.append(f"<h2>{_text(tag['name'])}</h2>")
        parts += [_operation(*each) for each in operations if tag["name"] in each[2]["tags"]]
    parts.append("<h2>models</h2>")
    parts += [_model(name, schema) for name, schema in sorted(document["components"]["schemas"].items())]
    title = _text(info["title"])
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>{title}: HTTP API</title><style>{_STYLE}</style>{''.join(parts)}</html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = [
        (
            f"<code>{_text(each['name'])}</code>",
            each["in"],
            _kind(each["schema"]) + _about(each.get("description")),
        )
        for each in operation["parameters"]
    ]
    if "requestBody" in operation:
        rows.append(("body", "", _kind(operation["requestBody"]["content"]["application/json"]["schema"])))
    rows += [
        (_text(status), "", _text(each["description"]) + " " + "".join(
            _kind(content["schema"]) for content in each.get("content", {}).values()
        ))
        for status, each in operation["responses"].items()
    ]  # fmt: skip
    table = "".join(f"<tr><td>{a}</td><td>{_text(b)}</td><td>{c}</td></tr>" for a, b, c in rows)
    return (
        f"<details id='{_text(operation['operationId'])}'><summary><span class='method'>{method.upper()}</span>"
        f"<code>{_text(path)}</code><span class='about'>{_text(operation['summary'])}</span></summary>"
        f"<p>{_text(operation['description'])}</p><table>{table}</table></details>"
    )


def _model(name: str, schema: dict[str, Any]) -> str:
    shown = _text(json.dumps(schema, indent=1))
    return f"<details id='{_text(name)}'><summary><code>{_text(name)}</code></summary><pre>{shown}</pre></details>"


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = _text(schema["$ref"].rpartition("/")[2])
        return f"<a href='#{name}'>{name}</a>"
    return f"<code>{_text(json.dumps({k: v for k, v in schema.items() if k != 'title'}))}</code>"


def _about(text: str | None) -> str:
    return f" {_text(text)}" if text else ""


def _text(value: object) -> str:
    return html.escape(str(value))
