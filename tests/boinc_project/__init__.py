"""A stand-in for a BOINC project, for tests: a real MariaDB, and programs that behave as BOINC's.

No server of BOINC's is built for it.  What it does to rows is what :mod:`pyboinc.project` says,
which is held against a real server; how its programs fail is how BOINC's were seen to.

* :mod:`~boinc_project.mariadb`: one database server for all tests of a run;
* :mod:`~boinc_project.schema`: the tables, as far as anybody looks at them;
* :mod:`~boinc_project.place`: a project's directory;
* :mod:`~boinc_project.tools`: ``create_work`` and ``cancel_jobs``;
* :mod:`~boinc_project.world`: its daemons, and volunteers who do the jobs.
"""
