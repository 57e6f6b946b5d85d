#!/usr/bin/env php
<?php
// Prepares a BOINC project for PyBOINC: run it with PHP's command line inside the project.
//
//     cd /home/boincadm/projects/test
//     php html/ops/py_boinc.php --dry-run
//     php html/ops/py_boinc.php --apps dist
//
// It finds the project (BOINC_PROJECT_DIR, else this directory or one above it) and hands
// everything else to `pyboinc setup`, whose exit code it ends with.  The command is taken from
// the environment variable PYBOINC if that is set, else from PATH.

if (PHP_SAPI !== 'cli') {
    // In html/ops a web server could reach it; a page that changes a project it must not be.
    http_response_code(403);
    exit("py_boinc.php is run by PHP's command line, not by a web server\n");
}

function fail($message) {
    fwrite(STDERR, "py_boinc.php: $message\n");
    exit(2);
}

// The directory of the project that we are in, or null.
function find_project() {
    $given = getenv('BOINC_PROJECT_DIR');
    if ($given !== false && $given !== '') {
        if (!is_file("$given/config.xml")) {
            fail("BOINC_PROJECT_DIR is $given, and no config.xml is there");
        }
        return $given;
    }
    $place = getcwd();
    while ($place !== false) {
        if (is_file("$place/config.xml")) {
            return $place;
        }
        if (dirname($place) === $place) {
            break;
        }
        $place = dirname($place);
    }
    return null;
}

// The command `pyboinc`: what PYBOINC says, or the first one in PATH; null if there is none.
function find_command() {
    $given = getenv('PYBOINC');
    if ($given !== false && $given !== '') {
        return $given;
    }
    foreach (explode(PATH_SEPARATOR, (string) getenv('PATH')) as $place) {
        $path = ($place === '' ? '.' : $place) . '/pyboinc';
        if (is_file($path) && is_executable($path)) {
            return $path;
        }
    }
    return null;
}

$project = find_project();
if ($project === null) {
    fail('no project here: neither ' . getcwd() . ' nor a directory above it has a config.xml; '
        . 'go to the directory of your project, or name it in BOINC_PROJECT_DIR');
}
$command = find_command();
if ($command === null) {
    fail("the command pyboinc is not in PATH; install it, and name it:\n"
        . "    python3 -m venv ~/pyboinc && ~/pyboinc/bin/pip install 'pyboinc[boinc]'\n"
        . '    PYBOINC=~/pyboinc/bin/pyboinc php ' . $argv[0]);
}
if (!is_file($command) || !is_executable($command)) {
    fail("PYBOINC is $command, which can not be run; name the command pyboinc of its environment");
}
if (!function_exists('proc_open')) {
    fail("this PHP may start no programs (proc_open, see disable_functions in php.ini); type:\n    "
        . escapeshellarg($command) . ' setup ' . escapeshellarg($project));
}

// An array is started as it is, by no shell (PHP 7.4); older ones take a quoted line.
$words = array_merge([$command, 'setup', $project], array_slice($argv, 1));
if (PHP_VERSION_ID < 70400) {
    $words = 'exec ' . implode(' ', array_map('escapeshellarg', $words));
}
$process = proc_open($words, [STDIN, STDOUT, STDERR], $pipes);
if ($process === false) {
    fail("$command could not be started");
}
exit(proc_close($process));
