"""The OpenAPI document as an HTML page that needs no scripts and no network."""

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --raised: #f3f3f3; --ink: #1c1c1c; --line: #ccc; --accent: #0072b2 }
@media (prefers-color-scheme: dark) {
  :root { --ground: #131518; --raised: #1c1f24; --ink: #e9ecef; --line: #31373e; --accent: #56b4e9 }
}
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: var(--ink); background: var(--ground); overflow-wrap: break-word }
a { color: var(--accent) } h2 { line-height: 1.3 }
code, pre { font: 14px/1.45 ui-monospace, monospace } h2 code { font-size: 1.1rem; overflow-wrap: anywhere }
pre { background: var(--raised); padding: .75rem; white-space: pre-wrap }
section { border-top: 1px solid var(--line); margin-top: 2rem } table { border-collapse: collapse; margin-top: .75rem }
td, th { text-align: left; padding: .2rem 1rem .2rem 0; vertical-align: top }
@media (max-width: 40rem) { table { font-size: .85rem } td, th { padding-right: .6rem } }
"""


def html(document: Mapping[str, Any]) -> str:
    """A page with all operations and schemas of an OpenAPI document."""
    title, description = (escape(document["info"].get(name, "")) for name in ("title", "description"))
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return "\n".join(
        [
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title} API</title>',
            f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>',
            f"<body><main><h1>{title} API</h1>",
            f'<p>{description} Machine-readable: <a href="openapi.json">openapi.json</a>.</p>',
            *(line for operation in operations for line in _section(*operation)),
            "<section><h2>Schemas</h2>",
            *(_schema(name, schema) for name, schema in document.get("components", {}).get("schemas", {}).items()),
            "</section></main></body></html>",
        ]
    )


def _section(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<section><h2><code>{method.upper()} {escape(path)}</code></h2>"
    yield f"<p><strong>{escape(operation.get('summary', ''))}.</strong> {escape(operation.get('description', ''))}</p>"
    if operation.get("security"):
        yield "<p>Needs the API key.</p>"
    if parameters := operation.get("parameters"):
        yield _table(
            ("Parameter", "In", "Schema", ""),
            [(p["name"], p["in"], _short(p["schema"]), p.get("description", "")) for p in parameters],
        )
    if body := operation.get("requestBody"):
        yield _table(
            ("Body", "Schema"), [(kind, _short(content.get("schema", {}))) for kind, content in body["content"].items()]
        )
    yield _table(
        ("Status", "Type", "Schema", ""),
        [row for code, response in operation["responses"].items() for row in _response(code, response)],
    )
    yield "</section>"


def _response(code: str, response: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for kind, content in response.get("content", {"": {}}).items():
        yield code, kind, _short(content.get("schema", {})), response["description"]


def _short(schema: Mapping[str, Any]) -> str:
    """A schema in a few words; named schemas are shown in full in the section Schemas."""
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(map(_short, choices))
    return ", ".join(
        f"{name} {schema[name]}"
        for name in ("title", "type", "format", "minimum", "maximum", "default")
        if name in schema
    )


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    name, text = escape(name), escape(json.dumps(schema, indent=2))
    return f'<details id="{name}"><summary><code>{name}</code></summary><pre>{text}</pre></details>'


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    columns = "".join(f'<th scope="col">{name}</th>' for name in head)
    cells = "".join("<tr>" + "".join(f"<td>{_breakable(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{columns}</tr></thead><tbody>{cells}</tbody></table>"


def _breakable(text: str) -> str:
    """Text that may be wrapped after a slash and between the words of a schema's name."""
    return re.sub(r"(?<=/)|(?<=[a-z])(?=[A-Z])", "<wbr>", escape(text))
