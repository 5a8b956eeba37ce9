/* --embedded: a private FalkorDB by the project's own server script. The script
   ends its server when its standard input ends, so the pipe into it is a
   lifeline: it breaks when this program is gone, for whatever reason. */
#include "falkor-cli.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- where it is ------------------------------------------------------ */

/* The script: what $FALKOR_SERVER_SCRIPT names, or test/server.sh beside the
   folder that this program was built in, or one above (build/asan). */
static char *find_script(void) {
    static const char *const steps[] = {"/../test/server.sh",
                                        "/../../test/server.sh"};
    char path[PATH_MAX], *found = NULL;
    const char *given = getenv("FALKOR_SERVER_SCRIPT");
    if (given && *given) {
        found = realpath(given, NULL);
        if (!found || access(found, X_OK) != 0)
            cli_say("FALKOR_SERVER_SCRIPT is %s: %s", given, strerror(errno));
        return found;
    }
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 32);
    while (length > 0 && path[length - 1] != '/')
        length--;
    for (size_t i = 0; i < 2 && !found && length > 0; i++) {
        strcpy(path + length - 1, steps[i]);
        found = realpath(path, NULL);
    }
    if (!found)
        cli_say("--embedded needs the project's test/server.sh, which is not "
                "near this program: set FALKOR_SERVER_SCRIPT to its path");
    return found;
}

/* The folder's full path, made when it is missing, and a lock on it that is
   held until the server has ended: two servers would overwrite each other's
   data. -1: the message was printed. */
static int claim_folder(const char *data, char **path) {
    if (mkdir(data, 0700) != 0 && errno != EEXIST) {
        cli_say("--data %s: %s", data, strerror(errno));
        return -1;
    }
    *path = realpath(data, NULL);
    int lock = *path ? open(*path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (lock < 0) {
        cli_say("--data %s: %s", data, strerror(errno));
        return -1;
    }
    if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
        cli_say("--data %s is in use by another falkor-cli", data);
        close(lock);
        return -1;
    }
    return lock;
}

/* ---- starting it ------------------------------------------------------ */

/* In the child: becomes the script. A process group of its own keeps Ctrl-C at
   the prompt from ending the server. */
static _Noreturn void become(const char *script, const char *data, int lock,
                             int input, int output) {
    signal(SIGPIPE, SIG_DFL);
    setpgid(0, 0);
    if (data)
        setenv("FALKOR_SERVER_DIR", data, 1);
    else
        unsetenv("FALKOR_SERVER_DIR");
    if (lock >= 0)
        fcntl(lock, F_SETFD, 0);
    if (dup2(input, STDIN_FILENO) >= 0 && dup2(output, STDOUT_FILENO) >= 0) {
        if (data)
            execl(script, script, "serve", "--save", "1 1", (char *)NULL);
        else
            execl(script, script, "serve", (char *)NULL);
    }
    cli_say("%s: %s", script, strerror(errno));
    _exit(127);
}

/* Reads the script's line into room; false: it ended without one. */
static bool read_line(int from, char *room, size_t size) {
    size_t length = 0;
    while (length + 1 < size) {
        ssize_t got = read(from, room + length, 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        if (room[length] == '\n')
            break;
        length++;
    }
    room[length] = '\0';
    return true;
}

static bool launch(cli_server *server, const char *script, const char *data,
                   int lock) {
    int in[2], out[2];
    char line[PATH_MAX + 200];
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0
        || (server->pid = fork()) < 0) {
        cli_say("--embedded: %s", strerror(errno));
        return false;
    }
    if (server->pid == 0)
        become(script, data, lock, in[0], out[1]);
    close(in[0]);
    close(out[1]);
    server->lifeline = in[1];
    bool started = read_line(out[0], line, sizeof line)
        && sscanf(line, "FALKOR_SERVER port=%d", &server->port) == 1;
    close(out[0]);
    if (started)
        return true;
    cli_server_stop(server);
    cli_say("--embedded: the server did not start");
    return false;
}

bool cli_server_start(cli_server *server, const char *data) {
    char *path = NULL;
    int lock = -1;
    *server = (cli_server){.lifeline = -1};
    if (data) {
        lock = claim_folder(data, &path);
        if (lock < 0)
            return false;
    }
    char *script = find_script();
    bool started = script && launch(server, script, path, lock);
    if (lock >= 0)
        close(lock);                    /* the script has it now */
    free(script);
    free(path);
    return started;
}

bool cli_server_stop(cli_server *server) {
    int status = 0;
    if (server->pid <= 0)
        return true;
    close(server->lifeline);
    while (waitpid(server->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    server->pid = 0;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
