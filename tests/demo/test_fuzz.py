"""Whatever is sent, by the description of the surface or against it, is answered as described."""

import pytest
from hypothesis import HealthCheck, settings

pytest.importorskip("schemathesis", reason="needs schemathesis")
pytest.importorskip("fastapi", reason="needs tfinit[demo]")

import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from tfinit.demo.server import create_app

FEW = settings(
    max_examples=25,
    suppress_health_check=list(HealthCheck),
)
# Not positive_data_acceptance: that `value` goes with some initializations only, and that runs
# have ids, the description cannot say. Not negative_data_rejection: 403 is no refusal of data.
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]


schema = schemathesis.openapi.from_dict(create_app(warm=False).openapi())


@pytest.fixture(scope="module")
def key(server):
    """A run that has trained for a step, and whose page listens."""
    with server.page(depth=2, width=4) as page:
        page.ready().say(action="step")
        page.until("state", step=1)
        yield page.key


@pytest.fixture(scope="module")
def base_url(server):
    # Schemathesis waits for an answer for ten seconds only; TensorFlow may take longer to load.
    assert server.post("/api/python", {"settings": {}}).status == 200
    return f"http://127.0.0.1:{server.port}"


@schema.parametrize()
@FEW
def test_no_request_is_a_server_error(case, server, base_url):
    response = case.call_and_validate(base_url, checks=CHECKS)
    if response.status_code == 201:
        server.runs.forget(server.runs.get(response.json()["id"]))


@schema.include(path_regex="/api/runs/.key./(control|lottery)").parametrize()
@FEW
def test_no_request_about_a_run_that_goes_is_a_server_error(case, server, base_url, key):
    case.path_parameters["key"] = key
    case.call_and_validate(base_url, checks=CHECKS)
    assert server.runs.get(key) is not None
