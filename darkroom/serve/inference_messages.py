"""Messages of the Open Inference Protocol, version 2: inference requests and the server's responses.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md, with Triton's
extensions for binary data and classification. As the protocol requires, unknown fields of a request are ignored.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator
from pydantic_core import from_json

from darkroom.serve.problems import Problem

Name = Annotated[str, Field(max_length=100)]
Dimension = Annotated[int, Field(ge=1, lt=2**31)]
_Pixel = {"type": "integer", "minimum": 0, "maximum": 255}
# tensors.py checks the elements, which is much faster than pydantic
Pixels = Annotated[list[Any], WithJsonSchema({"type": "array", "items": {"anyOf": [_Pixel, {"type": "array"}]}})]


class _Message(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


def _allow_nulls(schema: dict[str, Any]) -> None:
    """Add null to the schema of every optional field."""
    for name in schema["properties"].keys() - set(schema.get("required", [])):
        part = schema["properties"][name]
        if {"type": "null"} not in [part, *part.get("anyOf", [])]:
            schema["properties"][name] = {"anyOf": [part, {"type": "null"}]}


class _Request(_Message):
    """A part of a request, in which null means the same as a missing field: generated clients send nulls."""

    model_config = ConfigDict(json_schema_extra=_allow_nulls)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, values: Any) -> Any:
        if isinstance(values, dict) and None in values.values():
            return {name: value for name, value in values.items() if value is not None}
        return values


class RequestParameters(_Request):
    binary_data_output: bool = Field(
        False, description="Send the outputs as bytes after the JSON, unless an output says otherwise."
    )


class InputParameters(_Request):
    binary_data_size: int | None = Field(
        None, ge=0, description="The number of bytes of this input after the JSON, instead of `data`."
    )
    shared_memory_region: None = Field(None, description="Not supported.")


class OutputParameters(_Request):
    binary_data: bool | None = Field(None, description="Send this output as bytes after the JSON.")
    classification: int | None = Field(
        None, ge=1, description="Send this number of largest values, as strings `value:index:class`."
    )
    shared_memory_region: None = Field(None, description="Not supported.")


class RequestInput(_Request):
    name: Name
    parameters: InputParameters = InputParameters()


class ImageInput(RequestInput):
    name: Name = Field(description="`images`")
    shape: list[Dimension] = Field(min_length=4, max_length=4, description="Images, height, width, channels.")
    datatype: Literal["UINT8"]
    data: Pixels | None = Field(
        None, description="The pixels, 0 to 255: flat in row-major order, or nested to the shape."
    )


class TextInput(RequestInput):
    name: Name = Field(description="`texts`")
    shape: list[Dimension] = Field(min_length=1, max_length=2, description="Texts; or texts, 1.")
    datatype: Literal["BYTES"]
    data: list[str | list[str]] | None = Field(None, description="The texts: flat, or nested to the shape.")


class HistoryInput(RequestInput):
    name: Name = Field(description="`items`")
    shape: list[Dimension] = Field(min_length=2, max_length=2, description="Histories, items.")
    datatype: Literal["BYTES"]
    data: list[str | list[str]] | None = Field(
        None, description="Ids of items, oldest first, empty where a history has fewer: flat, or nested to the shape."
    )


class RequestOutput(_Request):
    name: Name = Field(description="`logits` or `probabilities`")
    parameters: OutputParameters = OutputParameters()


class InferenceRequest(_Request):
    """A request; each kind of examples has its own inputs."""

    id: str | None = Field(None, description="Returned with the response.")
    parameters: RequestParameters = RequestParameters()
    inputs: list[RequestInput]
    outputs: list[RequestOutput] = Field([], max_length=2, description="All outputs if empty.")


class ImageRequest(InferenceRequest):
    inputs: list[ImageInput] = Field(min_length=1, max_length=1)


class TextRequest(InferenceRequest):
    inputs: list[TextInput] = Field(min_length=1, max_length=1)


class HistoryRequest(InferenceRequest):
    inputs: list[HistoryInput] = Field(min_length=1, max_length=1)


class ResponseParameters(_Message):
    binary_data_size: int = Field(description="The number of bytes of this output after the JSON, instead of `data`.")


class ResponseOutput(_Message):
    name: str
    datatype: Literal["FP32", "BYTES"]
    shape: list[int]
    parameters: ResponseParameters | None = None
    data: list[float] | list[str] | None = Field(None, description="Flat, in row-major order.")


class InferenceResponse(_Message):
    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[ResponseOutput]


class TensorMetadata(_Message):
    name: str
    datatype: str
    shape: list[int] = Field(description="-1: any length")


class ModelMetadata(_Message):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(_Message):
    name: str
    version: str
    extensions: list[str]


class ServerLive(_Message):
    live: bool


class ServerReady(_Message):
    live: bool
    ready: bool


class ModelReady(_Message):
    name: str
    ready: bool


def parse(text: bytes, request: type[InferenceRequest]) -> InferenceRequest:
    """Parse an inference request of this type; raises Problem 400 with the first error."""
    try:
        return request.model_validate(from_json(text))  # model_validate_json takes three times the memory
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "The request"
        raise Problem(400, f"{where}: {first['msg']}.") from None
    except ValueError as error:
        raise Problem(400, f"The request is not valid JSON ({error}).") from None


def request_schema(request: type[InferenceRequest]) -> dict[str, Any]:
    """The JSON schema of a request of this type, without references.

    FastAPI adds no definitions for a request body that it does not parse itself.
    """
    whole = request.model_json_schema()
    definitions = whole.pop("$defs")

    def inlined(part: Any) -> Any:
        match part:
            case {"$ref": str(reference), **others}:
                return inlined(definitions[reference.removeprefix("#/$defs/")]) | inlined(others)
            case dict():
                return {key: inlined(value) for key, value in part.items()}
            case list():
                return [inlined(value) for value in part]
        return part

    return inlined(whole)
