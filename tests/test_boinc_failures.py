"""What a client made of a slave's last words is undone: texts recorded on a real server."""

from __future__ import annotations

from pyboinc.backends.boinc.failures import failure, unwrapped

RAISED = """
<core_client_version>7.20.5</core_client_version>
<![CDATA[
<message>
process exited with code 1 (0x1, -255)</message>
<stderr_txt>
ValueError: this one <can> & must not be done: &#195;&#169; &#226;&#130;&#172; ]]> </stderr_txt>

</stderr_txt>
]]>
"""

NO_OUTPUT = """
<core_client_version>7.20.5</core_client_version>
<![CDATA[
<stderr_txt>
</stderr_txt>
<message>
upload failure: <file_xfer_error>
  <file_name>pyb_1_1_1_r2021410258_0</file_name>
  <error_code>-161 (not found)</error_code>
</file_xfer_error>
</message>
]]>
"""


def test_what_a_slave_wrote_is_shown_as_it_wrote_it() -> None:
    """A client passes < and & and ]]> on as they are, and writes bytes above 127 as numbers."""
    assert unwrapped(RAISED).strip() == (
        "ValueError: this one <can> & must not be done: é € ]]> </stderr_txt>"
    )


def test_numbers_that_are_no_text_stay_readable() -> None:
    """A slave may write anything: what are no bytes of UTF-8 must not stop the report."""
    text = unwrapped("<stderr_txt>\na&#255;b &#65; &#1234; &amp;\n</stderr_txt>")
    assert text.strip() == "a\N{REPLACEMENT CHARACTER}b &#65; &#1234; &amp;"


def test_a_slave_that_wrote_nothing_is_told_of_in_the_clients_words() -> None:
    """An output that is missing is found by the client, after an exit status of 0."""
    assert unwrapped(NO_OUTPUT).startswith("upload failure: <file_xfer_error>")
    assert "-161 (not found)" in unwrapped(NO_OUTPUT)


def test_each_bit_of_an_error_mask_is_said() -> None:
    """A job that uses up both its errors and its instances has both bits: 10 is seen most often."""
    assert failure(1, "1_1", 10, ()).reason == "too many errors, too many total results"
