/* Composing what is run: argument and environment lists, and the program. */
#define _GNU_SOURCE

#include "command.h"

#include "paths.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_PATH "/bin:/usr/bin"

/* A list as execve takes it, in one piece of memory: first the pointers, then the texts. */
struct list {
    struct buffer text;
    size_t count;
    bool unfit; /* some text is none that a program can be given */
};

static char **list_end(struct list *list) {
    size_t pointers = (list->count + 1) * sizeof(char *);
    char **all = must_alloc(NULL, pointers + list->text.size), *at = (char *)all + pointers;
    if (list->text.size)
        memcpy(at, list->text.data, list->text.size);
    for (size_t i = 0; i < list->count; i++, at += strlen(at) + 1)
        all[i] = at;
    all[list->count] = NULL;
    buffer_free(&list->text);
    return all;
}

static bool invalid(struct list *list, struct buffer *reply, const char *reason) {
    buffer_free(&list->text);
    refuse(reply, "invalid", "%s", reason);
    return false;
}

static char **arguments_of(struct slice request, struct command *command, struct buffer *reply) {
    struct list list = {0};
    struct wire_items items;
    struct slice value, text;
    if (!take(request, "argv", &value, reply))
        return NULL;
    if (!wire_array(value, &items) || !items.left)
        return invalid(&list, reply, "there is no command"), NULL;
    while (wire_next(&items, &value)) {
        if (!wire_bytes(value, &text))
            return invalid(&list, reply, "an argument is no text"), NULL;
        if (memchr(text.data, 0, text.size)) {
            command->unfit = true;
            command->nameless |= list.count == 0;
        }
        buffer_add(&list.text, text.data, text.size);
        buffer_add(&list.text, "", 1);
        list.count++;
    }
    if (items.left)
        return invalid(&list, reply, "the arguments are cut off"), NULL;
    return list_end(&list);
}

static bool same(struct slice one, struct slice other) {
    return one.size == other.size && !memcmp(one.data, other.data, one.size);
}

/* The last value of that name in a map. */
static bool value_of(struct slice map, struct slice name, struct slice *found) {
    struct wire_items items;
    struct slice key, value, text;
    bool any = false;
    if (!wire_map(map, &items))
        return false;
    while (wire_next(&items, &key) && wire_next(&items, &value))
        if (wire_bytes(key, &text) && same(text, name)) {
            *found = value;
            any = true;
        }
    return any;
}

static bool add_variable(struct list *list, struct slice name, struct slice value, struct buffer *reply) {
    struct slice text;
    if (!wire_bytes(value, &text))
        return invalid(list, reply, "a variable is no text");
    if (!name.size || memchr(name.data, '=', name.size))
        list->unfit = true;
    if (memchr(name.data, 0, name.size) || memchr(text.data, 0, text.size))
        list->unfit = true;
    buffer_add(&list->text, name.data, name.size);
    buffer_add(&list->text, "=", 1);
    buffer_add(&list->text, text.data, text.size);
    buffer_add(&list->text, "", 1);
    list->count++;
    return true;
}

/* All of `from`, with the values of `instead` where it has any; but for the names that `but` has. */
static bool add_variables(
    struct list *list, struct slice from, struct slice instead, struct slice but, struct buffer *reply) {
    struct wire_items items;
    struct slice key, value, name, ignored;
    if (!wire_map(from, &items))
        return invalid(list, reply, "the environment is no map");
    while (wire_next(&items, &key) && wire_next(&items, &value)) {
        if (!wire_bytes(key, &name))
            return invalid(list, reply, "a variable is no text");
        if (value_of(but, name, &ignored))
            continue;
        value_of(instead, name, &value);
        if (!add_variable(list, name, value, reply))
            return false;
    }
    return !items.left || invalid(list, reply, "the environment is no map");
}

char **command_environment(struct slice base, struct slice more, bool *unfit, struct buffer *reply) {
    struct list list = {0};
    const struct slice none = {0};
    if (!add_variables(&list, base, more, none, reply) || !add_variables(&list, more, none, base, reply))
        return NULL;
    *unfit |= list.unfit;
    return list_end(&list);
}

bool command_take(
    const struct place *place, struct slice request, struct command *command, struct buffer *reply) {
    struct slice more;
    OWNED char *folder = NULL;
    if (!take(request, "environment", &more, reply) || !take_text(request, "folder", &folder, reply))
        return false;
    command->folder = path_join(place->workspace, folder);
    command->argv = arguments_of(request, command, reply);
    if (!command->argv)
        return false;
    command->environment = command_environment(place->environment, more, &command->unfit, reply);
    return command->environment;
}

static const char *path_in(char **environment) {
    for (; *environment; environment++)
        if (!strncmp(*environment, "PATH=", 5))
            return *environment + 5;
    return DEFAULT_PATH;
}

int program_find(const char *name, char **environment, char **program) {
    if (strchr(name, '/')) {
        *program = path_join("", name);
        return 0;
    }
    for (const char *path = path_in(environment);; path++) {
        size_t size = strcspn(path, ":");
        char *candidate = must_alloc(NULL, size + 1 + strlen(name) + 1);
        memcpy(candidate, path, size);
        candidate[size] = '/';
        strcpy(candidate + size + 1, name);
        if (access(candidate, X_OK) == 0 && !path_is_folder(candidate)) {
            *program = candidate;
            return 0;
        }
        owned_free(&candidate);
        path += size;
        if (!*path)
            return ENOENT;
    }
}

int command_find(struct command *command) {
    if (command->nameless)
        return UNFIT;
    int error = program_find(command->argv[0], command->environment, &command->program);
    return !error && command->unfit ? UNFIT : error;
}

void refuse_unfit(struct buffer *reply) {
    refuse(reply, "invalid", "a zero byte, or a variable with `=` in its name");
}

void command_not_run(const char *name, const char *reason, struct buffer *text) {
    const char *const parts[] = {"cannot run `", name, "`: ", reason, "\n"};
    for (size_t at = 0; at < sizeof parts / sizeof *parts; at++)
        buffer_add(text, parts[at], strlen(parts[at]));
}
