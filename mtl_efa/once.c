/* A message that several processes of a node would print in the same words is printed by the first of them. A
 * file in the job's session directory tells which one that is. Open MPI makes the directory for this user
 * alone and removes it with the job. */
#include "mtl_efa.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* How long another process may need to write a message that it has begun. */
enum { WAIT_MS = 2000 };

/* A directory in the job's session directory: Open MPI 4.1 removes the files there, but not the directories,
 * when one process ends the job, while others have not failed yet. -1 if there is none that is private to
 * this user. */
static int open_directory(void)
{
    const char *path = ompi_process_info.job_session_dir;
    struct stat directory;
    int parent = NULL == path ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), fd;

    if (parent < 0) {
        return -1;
    }
    (void) mkdirat(parent, "mtl_efa.said", S_IRWXU);
    fd = openat(parent, "mtl_efa.said", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    close(parent);
    if (fd >= 0 && (0 != fstat(fd, &directory) || geteuid() != directory.st_uid ||
                    0 != (directory.st_mode & (S_IWGRP | S_IWOTH)))) {
        close(fd);
        return -1;
    }
    return fd;
}

/* FNV-1a, 64 bits. */
static unsigned long long hash_of(const char *text)
{
    unsigned long long hash = 0xcbf29ce484222325ULL;

    for (; '\0' != *text; ++text) {
        hash = (hash ^ (unsigned char) *text) * 0x100000001b3ULL;
    }
    return hash;
}

/* The file gets its content after the message has been written. A process that ended the job before would cut
 * the message off. */
static bool was_said(int directory, const char *name)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    struct stat file;

    for (int waited_ms = 0; waited_ms < WAIT_MS; ++waited_ms) {
        if (0 != fstatat(directory, name, &file, AT_SYMLINK_NOFOLLOW)) {
            return false;
        }
        if (file.st_size > 0) {
            return true;
        }
        nanosleep(&pause, NULL);
    }
    return false;
}

void mtl_efa_report_once(const efa_user_message *message)
{
    char name[64];
    int directory = open_directory(), file = -1;

    snprintf(name, sizeof name, "%016llx", hash_of(message->text));
    if (directory >= 0) {
        file =
            openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
        if (file < 0 && EEXIST == errno && was_said(directory, name)) {
            close(directory);
            return;
        }
        close(directory);
    }
    mtl_efa_report(message);
    if (file >= 0) {
        if (1 != write(file, "1", 1)) {
            /* Other processes wait for WAIT_MS, and print it again. */
        }
        close(file);
    }
}
