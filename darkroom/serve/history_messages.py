"""Requests of the routes of histories, and their limits: a field that is wrong is refused by its name."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from darkroom.serve.history_work import MAX_ID, MAX_ITEMS
from darkroom.serve.inference_protocol import JSON_LIMIT
from darkroom.serve.predict_api import media_type, unsupported
from darkroom.serve.problems import Problem
from darkroom.serve.service import Service

JSON = "application/json"
MAX_COUNT = 1000  # recommended items
Id = Annotated[str, Field(max_length=MAX_ID)]
History = Annotated[
    list[Id], Field(max_length=MAX_ITEMS, description="Ids of items, oldest first. Unknown ids are skipped.")
]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Options(_Request):
    count: int = Field(
        10, ge=1, le=MAX_COUNT, description="The number of items to recommend; fewer if there are not so many."
    )
    leave_out_seen: bool = Field(True, description="Whether items of the history are not recommended again.")


class OneHistory(_Options):
    """A request for one history."""

    history: History


class SeveralHistories(_Options):
    """A request for several histories."""

    histories: list[History] = Field(min_length=1)


class ToExplain(_Request):
    """A request to explain a recommendation."""

    history: History
    item: Id | None = Field(
        None, description="The item to explain; without it, the most probable one that is not in the history."
    )


T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


def to_recommend(values: Any) -> OneHistory | SeveralHistories:
    """A request to recommend from its JSON values; raises Problem 422."""
    is_several = isinstance(values, dict) and "histories" in values
    return _checked(SeveralHistories if is_several else OneHistory, values)


def to_explain(values: Any) -> ToExplain:
    """A request to explain from its JSON values; raises Problem 422."""
    return _checked(ToExplain, values)


async def read(service: Service, request: Request, parse: Callable[[Any], T]) -> T:
    """parse(values) of the JSON body of a request.

    Raises Problem 400 if it is not JSON, 413 if it is too long, 415 if it has another type, and what `parse` raises.
    """
    if (media := media_type(request)) != JSON:
        raise unsupported(media, f"a history as {JSON}")
    return await service.parsed(lambda body: parse(_values(body)), await service.body(request, JSON_LIMIT))


def schema(*kinds: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI's description of a body that is one of `kinds`."""
    found = [kind.model_json_schema() for kind in kinds]
    return {"required": True, "content": {JSON: {"schema": found[0] if len(found) == 1 else {"oneOf": found}}}}


def _values(body: bytes) -> Any:
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError:
        raise Problem(400, "The body is not JSON in UTF-8.") from None


def _checked(kind: type[M], values: Any) -> M:
    if not isinstance(values, dict):
        raise Problem(422, 'The body must be a JSON object, such as {"history": ["7", "12"]}.')
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise Problem(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}.") from None
