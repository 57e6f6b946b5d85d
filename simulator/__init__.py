"""Volunteers and servers in virtual time."""
