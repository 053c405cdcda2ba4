"""What a session of any backend does; each backend's tests hold it to this."""

from tests.backends.form_contract import FormContract
from tests.backends.reading_contract import ReadingContract
from tests.backends.watching_contract import WatchingContract
from tests.backends.writing_contract import WritingContract


class SessionContract(WritingContract, WatchingContract, ReadingContract, FormContract):
    """Tests of the sessions of one backend.

    They are given `model`, the small model of the embedded pair on some backend, and `embedded`,
    the pair by transformers in this process.
    """
