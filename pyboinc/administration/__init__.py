"""What a project's administrator does once: PyBOINC in the directory of a BOINC project."""
