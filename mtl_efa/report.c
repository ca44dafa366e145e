/* Messages for the user. Open MPI 6 cannot find the help files of a component outside its tree, so texts are
 * formatted here instead of with show_help, in the same form. */
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

void mtl_efa_print(const char *text)
{
    write_whole(text, strlen(text));
}

/* One write for each message, so that those of several processes do not mix. The user finds an error or a
 * warning by its name in docs/troubleshooting.md. */
void mtl_efa_report(const efa_user_message *message)
{
    const bool error = EFA_REPORT_ERROR == message->severity;
    char out[EFA_MESSAGE_SIZE + 512], head[128];
    size_t length;

    if (!error && EFA_REPORT_WARNING != message->severity) {
        length = (size_t) snprintf(out, sizeof out, "mtl_efa: %s\n", message->text);
        write_whole(out, length < sizeof out ? length : sizeof out - 1);
        return;
    }
    length = sizeof rule - 1;
    memcpy(out, rule, length);
    snprintf(head, sizeof head, "mtl_efa: %s [%s]", error ? "error" : "warning",
             efa_message_name(message->id));
    length = append_wrapped(out, length, sizeof out - sizeof rule, head);
    length = append_wrapped(out, length, sizeof out - sizeof rule, message->text);
    memcpy(out + length, rule, sizeof rule - 1);
    write_whole(out, length + sizeof rule - 1);
}

void mtl_efa_abort(void)
{
    ompi_rte_abort(1, NULL);
    exit(1);
}

void mtl_efa_say(efa_message_id id, const char *const *values, size_t count)
{
    efa_user_message message;

    efa_message_make(&message, id, values, count);
    mtl_efa_report(&message);
}

void mtl_efa_fatal(const efa_user_message *message)
{
    mtl_efa_report(message);
    mtl_efa_abort();
}
