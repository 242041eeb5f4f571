"""POST /v1/recommend and GET /v1/items: the items that come next after a history, and the items that there are."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from darkroom.bundle.histories import Recommended
from darkroom.serve import history_messages, history_work
from darkroom.serve.history_messages import OneHistory, SeveralHistories
from darkroom.serve.predict_api import ModelVersion, json_response
from darkroom.serve.problems import Problem, responses
from darkroom.serve.service import Served, Service

FOUND = 100  # items of a search at most


class Item(BaseModel):
    id: str
    title: str = Field(description="Empty if the item has none.")


class RecommendedItem(Item):
    probability: float = Field(
        description="That it is the next item, of all items. If `based_on` is popularity: its fraction of the training "
        "events."
    )


class Recommendation(BaseModel):
    """What is recommended after one history."""

    items: list[RecommendedItem] = Field(description="The most probable next items, most probable first.")
    based_on: Literal["history", "popularity"] = Field(
        description="Popularity if no item of the history is known: then the items are the same for everyone."
    )
    known_items: int = Field(description="Ids of the history that are items of the catalogue.")
    unknown_items: int = Field(description="Ids of the history that are not; they were skipped.")
    cut: bool = Field(description="Whether there are more known items than the model reads: it read the latest.")
    inference_ms: float = Field(description="Of all histories of the request.")


class One(Recommendation):
    """The response to a request with one history."""

    model: ModelVersion


class Several(BaseModel):
    """The response to a request with several histories."""

    model: ModelVersion
    results: list[Recommendation] = Field(description="One per history, in their order.")


class FoundItems(BaseModel):
    """The response to a search."""

    model: ModelVersion
    items: list[Item] = Field(description="The most frequent ones in the training data come first.")


def router(service: Service) -> APIRouter:
    limit = service.settings.max_files
    routes = APIRouter()
    body = history_messages.schema(OneHistory, SeveralHistories)

    @routes.post(
        "/v1/recommend",
        summary="Recommend items",
        response_model=None,
        responses={200: {"model": One | Several}, **responses(400, 408, 413, 415, 422, 429, 504)},
        openapi_extra={"requestBody": body},
    )
    async def recommend(request: Request) -> Response:
        """Send the ids of the items that a user had, oldest first; or several such histories.

        Ids that are not in the catalogue are counted and skipped. If none is left, the most frequent items of the
        training data are recommended, and `based_on` says so.
        """
        given = await history_messages.read(service, request, history_messages.to_recommend)
        histories = given.histories if isinstance(given, SeveralHistories) else [given.history]
        if len(histories) > limit:
            raise Problem(413, f"The request has {len(histories):,} histories, more than {limit:,}.")

        def work(served: Served) -> Response:
            options = given.count, given.leave_out_seen
            found, milliseconds = history_work.recommend(service.telemetry, served, histories, *options)
            results = [_result(served, one, milliseconds) for one in found]
            is_one = isinstance(given, OneHistory)
            return json_response(served.bundle, results[0] if is_one else {"results": results})

        return await service.work(work, len(histories), _size(histories))

    @routes.get(
        "/v1/items",
        summary="Search items",
        response_model=None,
        responses={200: {"model": FoundItems}, **responses(400, 429, 504)},
    )
    async def items(
        search: Annotated[str, Query(max_length=200, description="An id, or words that the title contains.")] = "",
        limit: Annotated[int, Query(ge=1, le=FOUND, description="The number of items to return.")] = 20,
    ) -> Response:
        """Items by id or title, the most frequent ones first. Without a search, the most frequent items of all."""

        def work(served: Served) -> Response:
            recommender = served.histories
            of_id = recommender.indices.get(search)
            found = [] if of_id is None else [of_id]
            found += [index for index in recommender.catalogue.search(search, limit) if index != of_id]
            return json_response(
                served.bundle, {"items": [history_work.named(served, index) for index in found[:limit]]}
            )

        return await service.work(work, images=0)

    return routes


def _size(histories: Sequence[Sequence[str]]) -> int:
    """About how many bytes the ids take, for admission."""
    return sum(map(len, histories)) * 8


def _result(served: Served, found: Recommended, milliseconds: float) -> dict[str, Any]:
    """The fields of `Recommendation`."""
    return {
        "items": [
            {**history_work.named(served, index), "probability": probability}
            for index, probability in zip(found.items.tolist(), found.probabilities.tolist(), strict=True)
        ],
        "based_on": "popularity" if found.popular else "history",
        "known_items": found.known,
        "unknown_items": found.unknown,
        "cut": found.cut,
        "inference_ms": round(milliseconds, 3),
    }
