"""Test the OpenAPI document against the running service, with requests that schemathesis generates from it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests import bundles, history_bundles, text_bundles
from tests.serving import BLACK, WHITE, served

# schemathesis generates arbitrary bytes for this type, but images for image/*
schemathesis.openapi.media_type("application/octet-stream", st.sampled_from([BLACK, WHITE]))


@pytest.mark.parametrize(
    ("write", "main"),
    [(bundles.write, "predict"), (text_bundles.write, "predict"), (history_bundles.write, "recommend")],
    ids=["images", "texts", "histories"],
)
def test_the_service_conforms_to_its_document(tmp_path: Path, write: Callable[[Path], None], main: str):
    write(tmp_path / "bundle")
    with served(tmp_path / "bundle", "--log-format", "off", "--allow-reload", "--drain-delay", 0) as (_, address):
        operations = [
            found.ok() for found in schemathesis.openapi.from_url(f"{address}/openapi.json").get_all_operations()
        ]
        assert {f"/v1/{main}", "/v1/explain", "/v1/reload", "/v2/models/{name}/infer", "/metrics"} <= {
            operation.path for operation in operations
        }
        for operation in operations:

            @settings(
                max_examples=10, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
            )
            @given(case=operation.as_strategy())
            def holds(case: schemathesis.Case) -> None:
                # the document cannot say that a text of blanks alone is refused, and a history without known items
                refused = write is not bundles.write
                case.call_and_validate(excluded_checks=[positive_data_acceptance] if refused else [])

            holds()
