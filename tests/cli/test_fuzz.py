"""Generated calls of every command and of the public Python API: what is wrong is one sentence, and never accepted.

`FUZZ_EXAMPLES=800` makes it long; by default it is short.
"""

import os

import pytest
from fuzz_api import api_calls, play_api
from fuzz_commands import command_lines, nonsense_of, play_command
from fuzz_place import playground
from hypothesis import HealthCheck, given, settings

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES < 100,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a tiny model, pictures, a fine-tuning, a sample run, and hostile files; the working folder."""
    with pytest.MonkeyPatch.context() as patch:
        yield playground(tmp_path_factory.mktemp("fuzz"), patch)


@FUZZ
@given(line=command_lines())
@pytest.mark.usefixtures("place")
def test_commands_end_in_success_or_in_one_sentence(line):
    code, error = play_command(line)
    assert "Traceback" not in error and ".py:" not in error, line
    told = [said for said in error.splitlines() if said.startswith("persongen: ")]
    assert code in (0, 1, 2), line
    if code == 2:
        assert len(told) == 1 and len(told[0]) < 1600, (line, told)
    else:
        assert not nonsense_of(line), f"accepted: {nonsense_of(line)} in {line}"


@FUZZ
@given(call=api_calls())
def test_the_python_api_returns_or_raises_a_user_error(place, call):
    accepted = play_api(place, call)
    assert not (accepted and call.wrong), f"accepted: {call}"
