"""What servers say when they fail: the message, and whether the same request may succeed later."""

import pytest

from splitreason_integrations.backends.openai_server.failures import (
    is_retryable,
    message_of,
    reported,
    status_of,
    words_of,
)

PASSING = [
    ({"error": {"message": "x", "type": "server_error"}}, None),
    ({"error": {"type": "overloaded_error", "message": "Overloaded"}}, 529),
    ({"error": {"code": "rate_limit_exceeded", "type": "invalid_request_error"}}, 429),
    ({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "your quota"}}, 429),
    ({"code": "Throttling.RateQuota", "message": "x"}, None),
    ({"error": {"code": "ECONNRESET", "message": "x"}}, None),
    ({"error": "model is loading"}, None),
    ({"message": "Internal server error"}, 500),
    ({"error": "no words at all"}, None),
    ("<html>502</html>", 502),
    ("", 503),
    ([], 500),
    ({"error": {"error": {"error": {"error": {"error": "deep"}}}}}, None),
]
LASTING = [
    ({"error": {"code": "context_length_exceeded", "message": "x"}}, None, 400),
    ({"error": {"code": "insufficient_quota", "type": "insufficient_quota"}}, 429, 402),
    ({"error": {"message": "x", "type": "authentication_error"}}, None, 401),
    ({"error": {"message": "x", "code": "DeploymentNotFound"}}, None, 404),
    ({"error": {"message": "x", "code": "content_filter"}}, None, 403),
    ({"error": {"message": "x", "code": "Arrearage"}}, None, 400),
    ({"object": "error", "message": "x", "type": "BadRequestError", "code": 400}, None, 400),
    ({"error": {"message": "x", "type": "BadRequestError"}}, 500, 400),
    ({"message": "This model's maximum context length is 9 tokens"}, 500, 400),
    ({"error": {"message": "try again", "type": "api_error"}}, 422, 422),
    ("Insufficient balance", None, 402),
    ({"detail": "not implemented"}, 501, 501),
]


@pytest.mark.parametrize(("error", "http"), PASSING)
def test_what_may_pass_is_worth_another_try(error, http):
    assert is_retryable(status_of(error, http))


@pytest.mark.parametrize(("error", "http", "status"), LASTING)
def test_what_lasts_is_not(error, http, status):
    assert status_of(error, http) == status
    assert not is_retryable(status)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"error": {"message": "a", "code": 1}}, "a"),
        ({"error": "a"}, "a"),
        ({"errors": [{"msg": "a"}]}, "a"),
        ({"object": "error", "message": "a"}, "a"),
        ({"type": "error", "error": {"type": "x", "message": "a"}}, "a"),
        ({"detail": [{"loc": ["body", "seed"], "msg": "a"}]}, "a"),
        ({"base_resp": {"status_code": 1008, "status_msg": "a"}, "choices": None}, "a"),
        ({"error": {"code": 7}}, '{"code": 7}'),
    ],
)
def test_the_message_is_found_however_it_is_nested(data, message):
    assert message_of(reported(data)) == message


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "error",
        {},
        {"error": None, "choices": []},
        {"choices": [{"text": "a"}], "message": "a"},
        {"base_resp": {"status_code": 0}, "choices": []},
        {"usage": {"prompt_tokens": 3}},
    ],
)
def test_what_is_no_error_is_not_taken_for_one(data):
    assert reported(data) is None


def test_a_refusal_names_its_parameter_beside_the_message():
    error = {"error": {"message": "no", "code": "unknown_parameter", "param": "seed"}}
    assert words_of(error) == "code unknown_parameter, param seed"
    assert words_of({"detail": [{"loc": ["body", "seed"], "msg": "no"}]}) == "loc body.seed"
