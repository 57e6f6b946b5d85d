"""The served project: the emulated one, with real BOINC clients that come over HTTP."""
