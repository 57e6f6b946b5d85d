"""The model of a BOINC project: pure rules, no clock, disk, process or network."""
