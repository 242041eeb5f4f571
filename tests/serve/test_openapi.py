"""Test the OpenAPI document against the running service, with requests that schemathesis generates from it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests import bundles, text_bundles
from tests.serving import BLACK, WHITE, served

# schemathesis generates arbitrary bytes for this type, but images for image/*
schemathesis.openapi.media_type("application/octet-stream", st.sampled_from([BLACK, WHITE]))


@pytest.mark.parametrize("write", [bundles.write, text_bundles.write], ids=["images", "texts"])
def test_the_service_conforms_to_its_document(tmp_path: Path, write: Callable[[Path], None]):
    write(tmp_path / "bundle")
    with served(tmp_path / "bundle", "--log-format", "off", "--allow-reload", "--drain-delay", 0) as (_, address):
        operations = [
            found.ok() for found in schemathesis.openapi.from_url(f"{address}/openapi.json").get_all_operations()
        ]
        assert {"/v1/predict", "/v1/explain", "/v1/reload", "/v2/models/{name}/infer", "/metrics"} <= {
            operation.path for operation in operations
        }
        for operation in operations:

            @settings(
                max_examples=10, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
            )
            @given(case=operation.as_strategy())
            def holds(case: schemathesis.Case) -> None:
                # the document cannot say that a text of blanks alone is refused
                texts = write is text_bundles.write
                case.call_and_validate(excluded_checks=[positive_data_acceptance] if texts else [])

            holds()
