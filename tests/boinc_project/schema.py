"""The tables of a BOINC database that PyBOINC and the stand-in look at.

Names and types are BOINC's; as there, no column has a default.  Of columns that nobody here
looks at, some are left out.
"""

from __future__ import annotations

NEVER = 2**31 - 1
"""BOINC's transition time of a workunit that nothing is awaited for."""

WORKUNIT = {
    "create_time": "integer",
    "appid": "integer",
    "name": "varchar(191)",
    "xml_doc": "blob",
    "batch": "integer",
    "rsc_fpops_est": "double",
    "rsc_fpops_bound": "double",
    "rsc_memory_bound": "double",
    "rsc_disk_bound": "double",
    "need_validate": "smallint",
    "canonical_resultid": "integer",
    "canonical_credit": "double",
    "transition_time": "integer",
    "delay_bound": "integer",
    "error_mask": "integer",
    "file_delete_state": "integer",
    "assimilate_state": "integer",
    "min_quorum": "integer",
    "target_nresults": "integer",
    "max_error_results": "integer",
    "max_total_results": "integer",
    "max_success_results": "integer",
    "result_template_file": "varchar(63)",
    "priority": "integer",
}

RESULT = {
    "create_time": "integer",
    "workunitid": "integer",
    "server_state": "integer",
    "outcome": "integer",
    "client_state": "integer",
    "hostid": "integer",
    "userid": "integer",
    "report_deadline": "integer",
    "sent_time": "integer",
    "received_time": "integer",
    "name": "varchar(254)",
    "cpu_time": "double",
    "xml_doc_in": "blob",
    "xml_doc_out": "blob",
    "stderr_out": "blob",
    "batch": "integer",
    "file_delete_state": "integer",
    "validate_state": "integer",
    "granted_credit": "double",
    "random": "integer",
    "appid": "integer",
    "exit_status": "integer",
    "elapsed_time": "double",
}

BATCH = {
    "user_id": "integer",
    "create_time": "integer",
    "logical_start_time": "double",
    "logical_end_time": "double",
    "est_completion_time": "double",
    "njobs": "integer",
    "fraction_done": "double",
    "nerror_jobs": "integer",
    "state": "integer",
    "completion_time": "double",
    "credit_estimate": "double",
    "credit_canonical": "double",
    "credit_total": "double",
    "name": "varchar(255)",
    "app_id": "integer",
    "project_state": "integer",
    "description": "varchar(255)",
    "expire_time": "double",
}

TABLES = {
    "workunit": WORKUNIT,
    "result": RESULT,
    "batch": BATCH,
    "app": {"create_time": "integer", "name": "varchar(254)"},
    "user": {"create_time": "integer", "email_addr": "varchar(254)", "name": "varchar(254)"},
    "host": {"userid": "integer", "domain_name": "varchar(254)", "os_name": "varchar(254)"},
}

KEYS = {
    "workunit": "unique(name), index wu_val(appid, need_validate),"
    " index wu_timeout(transition_time),"
    " index wu_filedel(file_delete_state), index wu_assim(appid, assimilate_state),"
    " index wu_batch(batch)",
    "result": "unique(name), index res_wuid(workunitid), index ind_res_st(server_state)",
    "app": "unique(name)",
    "user": "unique(email_addr)",
}


def statements() -> list[str]:
    """Return what makes the tables."""
    made = []
    for table, columns in TABLES.items():
        lines = ["id integer not null auto_increment", "primary key (id)"]
        lines += [f"{name} {kind} not null" for name, kind in columns.items()]
        lines += [KEYS[table]] if table in KEYS else []
        made.append(f"create table {table} ({', '.join(lines)}) engine=InnoDB")
    return made
