"""POST /v1/explain for histories: how much the recommendation of an item depends on each event."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from darkroom.serve import history_messages, history_work
from darkroom.serve.history_api import RecommendedItem
from darkroom.serve.history_messages import ToExplain
from darkroom.serve.predict_api import ModelVersion, json_response
from darkroom.serve.problems import Problem, responses
from darkroom.serve.service import Served, Service


class Event(BaseModel):
    """An event of the history."""

    id: str
    title: str = Field(description="Empty if the item has none, or is unknown.")
    value: float | None = Field(
        description="The decrease of the item's log-odds without this event. Above 0 the event is a reason to "
        "recommend the item, below 0 against it. Null: it is unknown, not among the latest ones, or the only one."
    )


class Explanation(BaseModel):
    """The effect of leaving out each event of a history on the recommendation of one item."""

    item: RecommendedItem
    events: list[Event] = Field(description="One per id of the history, in its order.")
    model: ModelVersion


def router(service: Service) -> APIRouter:
    routes = APIRouter()

    @routes.post(
        "/v1/explain",
        summary="Explain a recommendation",
        response_model=None,
        responses={200: {"model": Explanation}, **responses(400, 408, 413, 415, 422, 429, 504)},
        openapi_extra={"requestBody": history_messages.schema(ToExplain)},
    )
    async def explain(request: Request) -> Response:
        """Send a history, and the item to explain if it is not the first recommended one.

        An explanation costs as much as up to 65 recommendations. It takes up to a quarter of the service's queue.
        """
        given = await history_messages.read(service, request, history_messages.to_explain)
        quarter = (service.settings.queue + 3) // 4  # so that explanations cannot shut out all other requests
        events = min(1 + history_work.EVENTS, quarter)
        return await service.work(lambda served: _explained(served, given), events, 8 * len(given.history))

    return routes


def _explained(served: Served, given: ToExplain) -> Response:
    """A response with an `Explanation`; raises Problem 422 if there is nothing to explain."""
    indices = served.histories.indices
    if given.item is not None and given.item not in indices:
        raise Problem(422, "item: not an item of the catalogue.")
    found = history_work.explain(served, given.history, None if given.item is None else indices[given.item])
    if found is None:
        raise Problem(422, "history: no item of it is in the catalogue, so the recommendation does not depend on it.")
    events = [
        {**_named(served, id), "value": value if value is None else round(value, 4)}
        for id, value in zip(given.history, found.values, strict=True)
    ]
    item = {**history_work.named(served, found.item), "probability": found.probability}
    return json_response(served.bundle, {"item": item, "events": events})


def _named(served: Served, id: str) -> dict[str, str]:
    index = served.histories.indices.get(id)
    return {"id": id, "title": ""} if index is None else history_work.named(served, index)
