"""The trained network of texts as a Transformers pipeline in FastAPI, with the usual handler, on one thread."""

from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, Request
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast, pipeline
from transformers.modeling_outputs import SequenceClassifierOutput

from benchmarks.peers import parse_port
from darkroom.models import checkpoints
from darkroom.tokens.text import FILE, PADDING

ARRAYS = Path("data/arrays")


class Network(PreTrainedModel):
    """The trained network in the interface of Transformers."""

    config_class = PretrainedConfig

    def __init__(self, config: PretrainedConfig, network: torch.nn.Module):
        super().__init__(config)
        self.network = network

    def forward(self, input_ids: torch.Tensor, **_: Any) -> SequenceClassifierOutput:
        return SequenceClassifierOutput(logits=self.network(input_ids))


def application() -> FastAPI:
    """The routes: POST /predict with a text as the body, and GET /health."""
    torch.set_num_threads(1)
    network, description = checkpoints.load("models/trained")
    names = dict(enumerate(description.classes))
    config = PretrainedConfig(id2label=names, label2id={name: number for number, name in names.items()})
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(ARRAYS / FILE), model_max_length=description.shape[0], padding_side="right"
    )
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(PADDING)
    model = Network(config, network).eval()
    classifier = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu", top_k=5)
    app = FastAPI()

    @app.get("/health")
    def health() -> dict[str, bool]:
        return {"ready": True}

    @app.post("/predict")
    async def predict(request: Request) -> list[dict[str, object]]:
        [found] = classifier([(await request.body()).decode()], truncation=True)
        return found

    return app


if __name__ == "__main__":
    port = parse_port("pipeline", __doc__)
    uvicorn.run(application(), port=port, log_level="warning")
