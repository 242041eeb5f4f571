"""FastAPI around the trained network: the handler that tutorials teach."""

import uvicorn
from fastapi import FastAPI, Request

from benchmarks.peers import Classifier, port


def application() -> FastAPI:
    """Answers POST /predict with a picture as the body, and GET /health."""
    app, classifier = FastAPI(), Classifier()

    @app.get("/health")
    def health() -> dict[str, bool]:
        return {"ready": True}

    @app.post("/predict")
    async def predict(request: Request) -> dict[str, object]:
        return classifier.answer(await request.body())

    return app


if __name__ == "__main__":
    number = port("benchmarks.peers.plain", __doc__)
    uvicorn.run(application(), port=number, log_level="warning")
