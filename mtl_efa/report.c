/* Messages to a person. Open MPI 6 cannot find the help files of a component outside its tree, so texts are
 * formatted here instead of with show_help, in the form its users know. */
#include "mtl_efa.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WIDTH = 76 };

static const char rule[] = "--------------------------------------------------------------------------\n";

/* Appends `text`, broken at spaces; returns the new length. */
static size_t append_wrapped(char *out, size_t length, size_t size, const char *text)
{
    size_t column = 0;

    while (*text && length + WIDTH < size) {
        size_t word = strcspn(text, " \n");
        if (column > 0 && column + 1 + word > WIDTH) {
            out[length++] = '\n';
            column = 0;
        } else if (column > 0) {
            out[length++] = ' ';
            ++column;
        }
        if (word > size - length - 2) {
            word = size - length - 2;
        }
        memcpy(out + length, text, word);
        length += word;
        column += word;
        text += word;
        text += ' ' == *text || '\n' == *text;
    }
    out[length++] = '\n';
    return length;
}

static void write_whole(const char *text, size_t length)
{
    while (length > 0) {
        ssize_t written = write(STDERR_FILENO, text, length);
        if (written <= 0) {
            return;
        }
        text += written;
        length -= (size_t) written;
    }
}

/* One write for each message, so that those of several processes do not mix. */
void mtl_efa_report(efa_severity severity, const char *text)
{
    char out[4096];
    size_t length;

    if (EFA_REPORT_ERROR != severity && EFA_REPORT_WARNING != severity) {
        length = (size_t) snprintf(out, sizeof out, "mtl_efa: %s\n", text);
        write_whole(out, length < sizeof out ? length : sizeof out - 1);
        return;
    }
    length = sizeof rule - 1;
    memcpy(out, rule, length);
    length = append_wrapped(out, length, sizeof out - sizeof rule - 64,
                            EFA_REPORT_ERROR == severity ? "mtl_efa: error" : "mtl_efa: warning");
    length = append_wrapped(out, length, sizeof out - sizeof rule, text);
    memcpy(out + length, rule, sizeof rule - 1);
    write_whole(out, length + sizeof rule - 1);
}

bool mtl_efa_speaks_for_node(void)
{
    const char *local_rank = getenv("OMPI_COMM_WORLD_LOCAL_RANK");
    return NULL == local_rank || 0 == strcmp(local_rank, "0");
}

static void end_job(void)
{
    ompi_rte_abort(1, NULL);
    exit(1);
}

void mtl_efa_abort(void)
{
    if (!mtl_efa_speaks_for_node()) {
        sleep(3); /* or the end of this process ends the job before the first one has said why */
    }
    end_job();
}

void mtl_efa_fatal(const char *text)
{
    mtl_efa_report(EFA_REPORT_ERROR, text);
    end_job();
}
