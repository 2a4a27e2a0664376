/* Operations on files, with no right that a command lacks. */
#ifndef WEFT_FILES_H
#define WEFT_FILES_H

#include "reply.h"

operation files_read, files_write, files_stat, files_list, files_delete, files_move, files_resolve;

#endif
