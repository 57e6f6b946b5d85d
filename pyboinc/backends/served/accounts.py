"""The account calls: what ``boinccmd --lookup_account`` and the Manager ask before they attach.

Source: BOINC ``html/user/get_project_config.php``, ``lookup_account.php``,
``create_account.php``.  Whatever is wrong is said with status 200 and a number of BOINC's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hmac import compare_digest
from xml.sax.saxutils import escape

from pyboinc.backends.served.messages import line
from pyboinc.backends.served.registry import Registry

PLATFORMS = ("x86_64-pc-linux-gnu", "aarch64-unknown-linux-gnu", "x86_64-apple-darwin")

_NO_ACCOUNT, _BAD_PASSWORD, _BAD_EMAIL, _DISABLED = -136, -206, -205, -208
_HASH = re.compile("[0-9a-f]{32}", re.ASCII)
_MOST_ACCOUNTS = 10_000


def configuration(url: str, name: str, platforms: Sequence[str] = ()) -> str:
    """Return the project's configuration, as a client asks for it before it attaches.

    *platforms* are those that there are app versions for; none if there is one for all.
    """
    listed = "".join(
        f"<platform><platform_name>{escape(one)}</platform_name></platform>\n"
        for one in platforms or PLATFORMS
    )
    return (
        '<?xml version="1.0" encoding="ISO-8859-1" ?>\n<project_config>\n'
        f"    <name>{escape(name)}</name>\n    <master_url>{escape(url)}</master_url>\n"
        f"    <web_rpc_url_base>{escape(url)}</web_rpc_url_base>\n"
        "    <web_stopped>0</web_stopped>\n    <sched_stopped>0</sched_stopped>\n"
        "    <min_passwd_length>6</min_passwd_length>\n"
        f"    <platforms>\n{listed}</platforms>\n</project_config>\n"
    )


def look_up(registry: Registry, asked: Mapping[str, str]) -> str:
    """Answer a client that asks for the key of an account."""
    account = registry.account_of(line(asked.get("email_addr")))
    if account is None:
        return _error(_NO_ACCOUNT, "no account with this e-mail address")
    if not compare_digest(account.password, line(asked.get("passwd_hash"))):
        return _error(_BAD_PASSWORD, "bad password")
    return _key(account.key)


def create(registry: Registry, asked: Mapping[str, str], anybody: bool) -> str:
    """Make an account, if *anybody* may; one that is there already is looked up."""
    email, password = line(asked.get("email_addr")), line(asked.get("passwd_hash"))
    if registry.account_of(email) is not None:
        return look_up(registry, asked)
    if not anybody or len(registry.accounts) >= _MOST_ACCOUNTS:
        return _error(_DISABLED, "accounts are not made here; ask for the account key")
    if "@" not in email:
        return _error(_BAD_EMAIL, "no e-mail address")
    if not _HASH.fullmatch(password):
        return _error(_BAD_PASSWORD, "no hash of a password")
    name = line(asked.get("user_name")) or email.partition("@")[0]
    return _key(registry.new_account(name, email, password).key)


def _key(key: str) -> str:
    return f"<account_out>\n    <authenticator>{key}</authenticator>\n</account_out>\n"


def _error(number: int, text: str) -> str:
    return f"<error>\n<error_num>{number}</error_num>\n<error_msg>{text}</error_msg>\n</error>\n"
