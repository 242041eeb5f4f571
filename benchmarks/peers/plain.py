"""The trained network in FastAPI, with the handler of most tutorials."""

import uvicorn
from fastapi import FastAPI, Request

from benchmarks.peers import Classifier, parse_port


def application() -> FastAPI:
    """The routes: POST /predict with an image as the body, and GET /health."""
    app, classifier = FastAPI(), Classifier()

    @app.get("/health")
    def health() -> dict[str, bool]:
        return {"ready": True}

    @app.post("/predict")
    async def predict(request: Request) -> dict[str, object]:
        return classifier.answer(await request.body())

    return app


if __name__ == "__main__":
    port = parse_port("plain", __doc__)
    uvicorn.run(application(), port=port, log_level="warning")
