"""The tests of LangChain's suites that do not run here, and why; README is written from this list.

`conftest.py` fails a test that is skipped and not listed, and one that is listed and runs.
"""

from __future__ import annotations

READER = ("TestChatModelUnit", "TestChatModel")
CALLER = ("TestToolCallingUnit", "TestToolCalling")

#: Reason, classes, tests. The first two classes have a model without tools, the last two one that calls.
SKIPS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    (
        "with the model without tools",
        READER,
        (
            "test_agent_loop",
            "test_bind_runnables_as_tools",
            "test_structured_few_shot_examples",
            "test_structured_output",
            "test_structured_output_async",
            "test_structured_output_optional_param",
            "test_structured_output_pydantic_2_v1",
            "test_tool_calling",
            "test_tool_calling_async",
            "test_tool_calling_with_no_arguments",
            "test_tool_choice",
            "test_tool_message_error_status",
            "test_tool_message_histories_list_content",
            "test_tool_message_histories_string_content",
            "test_unicode_tool_call_integration",
        ),
    ),
    (
        "since both read text only",
        READER + CALLER,
        (
            "test_anthropic_inputs",
            "test_audio_inputs",
            "test_image_inputs",
            "test_image_tool_message",
            "test_pdf_inputs",
            "test_pdf_tool_message",
        ),
    ),
    (
        "since a memory has one base model, of which a call can choose the `adapter=` only",
        READER + CALLER,
        (
            "test_ainvoke_with_model_override",
            "test_astream_with_model_override",
            "test_invoke_with_model_override",
            "test_stream_with_model_override",
        ),
    ),
    (
        "since a structured answer comes through a call and not in a JSON mode",
        READER + CALLER,
        ("test_json_mode",),
    ),
    ("since nothing is configured through the environment", READER + CALLER, ("test_init_from_env",)),
    ("since LangChain loads serialised objects of its own packages only", READER + CALLER, ("test_serdes",)),
    (
        "since there is no remote service whose traffic could be recorded",
        READER + CALLER,
        ("test_stream_time",),
    ),
)


def is_listed(suite: str, test: str) -> bool:
    """Whether the test is listed as skipped in this class."""
    return any(suite in suites and test in tests for _, suites, tests in SKIPS)
