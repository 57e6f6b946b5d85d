"""Classes that a user trusts to fill themselves."""

from __future__ import annotations


class Trusted:
    """It notes that its __setstate__ ran."""

    def __init__(self, value):
        self.value = value
        self.restored = False

    def __getstate__(self):
        return [self.value]

    def __setstate__(self, state):
        (self.value,) = state
        if self.value is None:
            raise ValueError("nothing to restore")
        self.restored = True


class Closing:
    """It does something at its end."""

    def __del__(self):
        pass


trusted_setstate = (Trusted, Closing)
