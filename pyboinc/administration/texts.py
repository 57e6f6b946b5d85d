"""The texts that `pyboinc setup` puts into a project: a template, elements of XML, a README."""

from __future__ import annotations

PLATFORMS = {
    "x86_64-pc-linux-gnu": "Linux on an AMD or Intel processor, 64 bits",
    "i686-pc-linux-gnu": "Linux on an AMD or Intel processor, 32 bits",
    "aarch64-unknown-linux-gnu": "Linux on ARM, 64 bits",
    "arm-unknown-linux-gnueabihf": "Linux on ARM, 32 bits, hardware floating point",
    "x86_64-apple-darwin": "macOS on an Intel processor",
    "arm64-apple-darwin": "macOS on Apple silicon",
    "windows_x86_64": "Windows on an AMD or Intel processor, 64 bits",
    "windows_intelx86": "Windows on an AMD or Intel processor, 32 bits",
    "windows_arm64": "Windows on ARM, 64 bits",
}
"""What people call the platforms; make_project names most of them in project.xml already."""

_OUTPUT_TEMPLATE = """\
<output_template>
    <file_info>
        <name><OUTFILE_0/></name>
        <generated_locally/>
        <upload_when_present/>
        <max_nbytes>{limit}</max_nbytes>
        <url><UPLOAD_URL/></url>
    </file_info>
    <result>
        <file_ref>
            <file_name><OUTFILE_0/></file_name>
            <open_name>out</open_name>
        </file_ref>
    </result>
</output_template>
"""

README = """\
PyBOINC's part of this project, made by `pyboinc setup`; `pyboinc setup --remove` undoes it.

batches/     who waits for what: a file for each batch, written by its master.  The first line is
             where outputs go, the second the directory of the master program.
failed/      a line for each job that failed, written by bin/pyboinc_assimilate:
             workunit, its number, error mask (0: it succeeded, but its output is not there).
kept/        outputs that could not be put where a batch wants them; its master takes them.
archives/    which batch needs which slave archive of the download directory.
public_key   the key that archives are signed with, as volunteers' programs know it.
setup.json   what `pyboinc setup` did here.
"""


def output_template(limit: int) -> str:
    """Return the output template of an app whose outputs have *limit* bytes at most."""
    return _OUTPUT_TEMPLATE.format(limit=limit)


def app_item(app: str) -> str:
    """Return the element of project.xml that names the app."""
    title = "Python jobs (PyBOINC)" if app == "pyboinc" else f"Python jobs ({app})"
    return (
        "<app>\n"
        f"    <name>{app}</name>\n"
        f"    <user_friendly_name>{title}</user_friendly_name>\n"
        "</app>"
    )


def platform_item(name: str) -> str:
    """Return the element of project.xml that names a platform."""
    return (
        "<platform>\n"
        f"    <name>{name}</name>\n"
        f"    <user_friendly_name>{PLATFORMS.get(name, name)}</user_friendly_name>\n"
        "</platform>"
    )
