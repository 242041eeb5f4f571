"""The JSON of the Open Inference Protocol, version 2: what a request for inference holds, and the answers of a server.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md, with Triton's extensions
for binary data and classification. What a request holds beyond this is ignored, as the protocol wants.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import from_json

from darkroom.serve.problems import Problem

Name = Annotated[str, Field(max_length=100)]
Dimension = Annotated[int, Field(ge=1, lt=2**31)]
_Pixel = {"type": "integer", "minimum": 0, "maximum": 255}
Pixels = Annotated[
    list[Any], WithJsonSchema({"type": "array", "items": {"anyOf": [_Pixel, {"type": "array"}]}})
]  # checked in tensors.py, all at once


class _Message(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class RequestParameters(_Message):
    binary_data_output: bool = Field(
        False, description="Send the outputs as bytes behind the JSON, but for those that say otherwise."
    )


class InputParameters(_Message):
    binary_data_size: int | None = Field(
        None, ge=0, description="How many bytes of this input follow the JSON, in place of `data`."
    )
    shared_memory_region: None = Field(None, description="Not supported.")


class OutputParameters(_Message):
    binary_data: bool | None = Field(None, description="Send this output as bytes behind the JSON.")
    classification: int | None = Field(
        None, ge=1, description="Send so many of the largest values, as texts `value:index:class`."
    )
    shared_memory_region: None = Field(None, description="Not supported.")


class RequestInput(_Message):
    name: Name = Field(description="`images`")
    shape: list[Dimension] = Field(min_length=4, max_length=4, description="Pictures, height, width, channels.")
    datatype: Literal["UINT8"]
    parameters: InputParameters = InputParameters()
    data: Pixels | None = Field(
        None, description="The pixels, 0 to 255, flat in row-major order or nested as the shape says."
    )


class RequestOutput(_Message):
    name: Name = Field(description="`logits` or `probabilities`")
    parameters: OutputParameters = OutputParameters()


class InferenceRequest(_Message):
    id: str | None = Field(None, description="Comes back with the answer.")
    parameters: RequestParameters = RequestParameters()
    inputs: list[RequestInput] = Field(min_length=1, max_length=1)
    outputs: list[RequestOutput] = Field([], max_length=2, description="All outputs where none is named.")


class AnswerParameters(_Message):
    binary_data_size: int = Field(description="How many bytes of this output follow the JSON, in place of `data`.")


class AnswerOutput(_Message):
    name: str
    datatype: Literal["FP32", "BYTES"]
    shape: list[int]
    parameters: AnswerParameters | None = None
    data: list[float] | list[str] | None = Field(None, description="Flat, in row-major order.")


class InferenceAnswer(_Message):
    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[AnswerOutput]


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


class Live(_Message):
    live: bool


class Ready(_Message):
    live: bool
    ready: bool


class ModelReady(_Message):
    name: str
    ready: bool


def parse(text: bytes) -> InferenceRequest:
    """The request for inference in a JSON text; raises Problem 400, which names the first mistake."""
    try:
        return InferenceRequest.model_validate(
            from_json(text)
        )  # model_validate_json would hold three times as much memory
    except ValidationError as error:
        mistake = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, mistake["loc"])) or "The request"
        raise Problem(400, f"{where}: {mistake['msg']}.") from None
    except ValueError as error:
        raise Problem(400, f"The request is no JSON ({error}).") from None


def request_schema() -> dict[str, Any]:
    """The JSON schema of a request, whole in itself: an OpenAPI document has no place for its definitions where a body may be JSON or bytes."""
    whole = InferenceRequest.model_json_schema()
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
