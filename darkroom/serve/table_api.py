"""POST /v1/predict for a classifier of rows of a table: the class, the risk, a decision by it, and its reasons."""

import io
import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from darkroom.bundle.classifier import Bundle
from darkroom.bundle.manifest import SetKind
from darkroom.bundle.tables import TableClassifier
from darkroom.columns.schema import Column, Unusable
from darkroom.core.errors import DarkroomError
from darkroom.core.spelling import counted
from darkroom.datasets import records
from darkroom.serve import predict_api, table_work
from darkroom.serve.inference_protocol import JSON_LIMIT
from darkroom.serve.predict_api import Answer, ModelVersion, TopK, WantedSet, json_response, media_type, unsupported
from darkroom.serve.problems import Error, Problem, responses
from darkroom.serve.service import Served, Service

CSV, JSON = "text/csv", "application/json"
_SHOWN = 50  # categories of a column in the OpenAPI document


class ColumnReason(BaseModel):
    """A column that speaks for the class that `reasons_for` names."""

    column: str
    value: str = Field(description="The value of the column; empty if it is missing.")
    contribution: float = Field(description="What it adds to the log-odds, relative to typical rows.")


class RowPrediction(Answer):
    """The prediction for one row."""

    risk: float | None = Field(description="The probability of the positive class; null if no class is one.")
    decision: Literal["approve", "refuse"] | None = Field(
        description="Refuse if the risk reaches `decision.threshold` of /v1/model; null without a positive class."
    )
    reasons_for: str = Field(description="The class that the reasons speak for: the positive one, else the label.")
    reasons: list[ColumnReason] = Field(description="The columns that raise its probability most, the most first.")
    missing: list[str] = Field(description="Columns without a value.")
    unknown: list[str] = Field(description="Columns with a category that fewer than five training rows had.")
    outside: list[str] = Field(description="Columns with a number outside of the range of the training rows.")
    ignored: list[str] = Field(description="Names that are not columns of the table.")


class Prediction(RowPrediction):
    """The response to a request with one row."""

    model: ModelVersion


class Predictions(BaseModel):
    """The response to a request with several rows."""

    model: ModelVersion
    results: list[RowPrediction | Error] = Field(description="One per row, in their order.")


def router(service: Service) -> APIRouter:
    limit = service.settings.max_files
    one = row_schema(TableClassifier(service.bundle).schema.columns)
    several = {"type": "array", "items": one, "minItems": 1, "maxItems": limit}
    either = {"oneOf": [one, several, {"type": "object", "properties": {"rows": several}, "required": ["rows"]}]}
    routes = APIRouter()

    @routes.post(
        "/v1/predict",
        summary="Classify rows of a table",
        response_model=None,
        responses={200: {"model": Prediction | Predictions}, **responses(400, 408, 413, 415, 422, 429, 504)},
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {JSON: {"schema": either}, CSV: {"schema": {"type": "string"}}},
            }
        },
    )
    async def predict(
        request: Request,
        top_k: TopK = 5,
        kind: WantedSet = None,
        reasons: Annotated[int, Query(ge=0, le=100, description="The number of reasons to return at most.")] = 3,
    ) -> Response:
        """Send one row as a JSON object by names of columns, several as an array, or CSV with a header.

        A column that is not given, null or empty is missing. Names that are not columns are ignored, and listed.
        """
        media = media_type(request)
        if media not in (JSON, CSV):
            raise unsupported(media, f"rows as {JSON} or {CSV}")
        body = await service.body(request, None if media == CSV else JSON_LIMIT)
        given = await service.parsed(partial(_csv, most=limit + 1) if media == CSV else _json, body)
        rows = given if isinstance(given, list) else [given]
        if len(rows) > limit:
            raise Problem(413, f"The request has more than {counted(limit, 'row')}.")

        def job(served: Served) -> tuple[Bundle, list[dict[str, Any]]]:
            found = partial(_result, top_k=top_k, kind=kind, reasons=reasons)
            return served.bundle, table_work.classify(service.telemetry, served, rows, found)

        bundle, results = await service.work(job, len(rows), len(body))
        if isinstance(given, list):
            return json_response(bundle, {"results": results})
        if "error" in results[0]:
            raise Problem(422, f"The row cannot be used: {results[0]['error']}.")
        return json_response(bundle, results[0])

    return routes


def row_schema(columns: Sequence[Column]) -> dict[str, Any]:
    """The JSON schema of a row."""
    return {"type": "object", "properties": {column.name: _column_schema(column) for column in columns}}


def _column_schema(column: Column) -> dict[str, Any]:
    if column.kind == "number":
        found = {"type": ["number", "null"]}
    elif column.kind == "date":
        found = {"type": ["string", "null"], "format": "date"}
    else:
        return {"type": ["string", "number", "boolean", "null"], "examples": list(column.categories[:_SHOWN])}
    if column.low is not None:
        found["description"] = f"{column.text(column.low)} to {column.text(column.high)} in the training rows"
    return found


def _decoded(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Problem(400, "The body is not UTF-8.") from None


def _json(body: bytes) -> Mapping[str, Any] | list[Mapping[str, Any]]:
    """The row or the rows in a JSON body; raises Problem 400."""
    try:
        given = json.loads(_decoded(body))
    except (ValueError, RecursionError):
        raise Problem(400, "The body is not JSON.") from None
    if isinstance(given, dict) and isinstance(given.get("rows"), list):
        given = given["rows"]
    if isinstance(given, dict):
        return given
    if not isinstance(given, list) or not given or not all(isinstance(one, dict) for one in given):
        raise Problem(400, 'The body must be a row, such as {"column": 1}, or an array of rows.')
    return given


def _csv(body: bytes, most: int) -> list[Mapping[str, Any]]:
    """At most the first `most` rows of a CSV body; raises Problem 400."""
    try:
        names, rows = records.parse(io.StringIO(_decoded(body), newline=""), "The body", most)
    except DarkroomError as error:
        raise Problem(400, str(error)) from None
    if not rows:
        raise Problem(400, "The body must have a line with the names of the columns, and at least one row.")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _result(
    classifier: TableClassifier, found: table_work.Found, top_k: int, kind: SetKind | None, reasons: int
) -> dict[str, Any]:
    """The fields of `RowPrediction` or `Error`."""
    if isinstance(found, Unusable):
        return {"error": str(found)}
    (row, remarks, probabilities), manifest = found, classifier.bundle.manifest
    decision = manifest.decision
    explained = int(probabilities.argmax()) if decision is None else decision.positive
    risk = None if decision is None else float(probabilities[decision.positive])
    return {
        **predict_api.answer(classifier.bundle, probabilities, top_k, kind),
        "risk": risk,
        "decision": None if decision is None else "refuse" if risk >= decision.threshold else "approve",
        "reasons_for": manifest.classes[explained],
        "reasons": [vars(reason) for reason in classifier.reasons(row, explained, reasons)] if reasons else [],
        **{name: list(names) for name, names in vars(remarks).items()},
    }
