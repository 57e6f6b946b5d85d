/* The quick half of the assimilator: one link(2) for a job that succeeded.
 *
 *     pyboinc_deliver WU_ID PATH...
 *
 * `script_assimilator` starts a shell for each job, which starts this; to start one program more,
 * as the script beside it must (`ln`), takes as long as all the rest.  So this does nothing but
 * what nearly every call needs: it reads where the batch's outputs go, and gives the output a
 * second name there.  Whatever is not as it should be, and whatever does not work at once, is left
 * to the script `pyboinc_assimilate` in the same directory, which says what it does and why.
 *
 * `pyboinc setup` compiles it where there is a C compiler; it needs nothing but POSIX.
 */

#define _POSIX_C_SOURCE 200809L

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LONGEST = 4096, DIGITS = 19 };

/* Goes over a number of at most 19 digits; returns how many digits it has, 0 if it is none. */
static int number(const char **text)
{
    int digits = 0;
    while (**text >= '0' && **text <= '9') {
        ++*text;
        ++digits;
    }
    return digits <= DIGITS ? digits : 0;
}

static int word(const char **text, const char *expected)
{
    size_t length = strlen(expected);
    if (strncmp(*text, expected, length) != 0)
        return 0;
    *text += length;
    return 1;
}

/* Reads pyb_BATCH_SEQUENCE_INSTANCE_rRANDOM_OUTPUT, with a count before INSTANCE if the job was
 * made anew; writes BATCH, and BATCH_SEQUENCE, or returns 0. */
static int parse(const char *name, char *batch, char *job)
{
    const char *at = name, *begin;
    if (!word(&at, "pyb_"))
        return 0;
    begin = at;
    if (!number(&at))
        return 0;
    sprintf(batch, "%.*s", (int)(at - begin), begin);
    if (!word(&at, "_") || !number(&at))
        return 0;
    sprintf(job, "%.*s", (int)(at - begin), begin);
    if (!word(&at, "_") || !number(&at))
        return 0;
    if (word(&at, "_r"))
        return number(&at) && word(&at, "_") && number(&at) && *at == '\0';
    return word(&at, "_") && number(&at) && word(&at, "_r") && number(&at) && word(&at, "_") &&
           number(&at) && *at == '\0';
}

/* Reads the first line of the registration of a batch: an absolute path. */
static int registered(const char *place, const char *batch, char *new_directory)
{
    char path[LONGEST];
    ssize_t length;
    char *end;
    int file;
    if (snprintf(path, sizeof path, "%s../pyboinc/batches/%s", place, batch) >= LONGEST)
        return 0;
    file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    length = read(file, new_directory, LONGEST - 1);
    close(file);
    if (length <= 0)
        return 0;
    new_directory[length] = '\0';
    end = strchr(new_directory, '\n');
    if (end == NULL || new_directory[0] != '/')
        return 0;
    *end = '\0';
    return 1;
}

static int same(const struct stat *one, const char *path)
{
    struct stat other;
    return stat(path, &other) == 0 && one->st_dev == other.st_dev && one->st_ino == other.st_ino;
}

/* Returns whether the output is in new/, or was taken from there already. */
static int deliver(const char *place, const char *path)
{
    char batch[DIGITS + 1], job[2 * DIGITS + 2], new_directory[LONGEST], target[LONGEST + 64];
    const char *name = strrchr(path, '/');
    struct stat output;
    char *above;
    if (!parse(name == NULL ? path : name + 1, batch, job))
        return 0;
    if (!registered(place, batch, new_directory))
        return 0;
    if (lstat(path, &output) != 0 || !S_ISREG(output.st_mode) || access(path, R_OK) != 0)
        return 0;
    above = strrchr(new_directory, '/');
    sprintf(target, "%.*s/old/%s.out", (int)(above - new_directory), new_directory, job);
    if (same(&output, target))
        return 1;
    sprintf(target, "%s/%s.out", new_directory, job);
    return link(path, target) == 0;
}

int main(int count, char **words)
{
    char place[LONGEST], script[LONGEST + 32];
    const char *own = count > 0 ? words[0] : "", *id = count > 1 ? words[1] : "";
    const char *slash = strrchr(own, '/');
    int length = slash == NULL ? 0 : (int)(slash - own) + 1;
    if (length >= LONGEST)
        return 1;
    sprintf(place, "%.*s", length, own);
    if (count > 2 && number(&id) && *id == '\0' && deliver(place, words[2]))
        return 0;
    sprintf(script, "%spyboinc_assimilate", length ? place : "./");
    if (count > 0)
        words[0] = script;
    execv(script, words);
    perror(script);
    return 1;
}
