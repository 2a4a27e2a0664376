/* Paths, as os.path of Python has them. What is returned is to be freed. */
#ifndef WEFT_PATHS_H
#define WEFT_PATHS_H

#include <stdbool.h>

char *path_join(const char *left, const char *right);
char *path_folder(const char *path);
/* The path without links, of which the tail need not exist; NULL with errno where a link cannot be read. */
char *path_real(const char *path);
bool path_exists(const char *path);
bool path_is_folder(const char *path);
/* Make the folder and those above it, where they are missing; 0 or errno. */
int path_make_folders(const char *path);

#endif
