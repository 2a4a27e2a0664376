/* What a frame says. It is read where it lies: a value is the slice that encodes it. */
#include "wire.h"

#include <string.h>

enum kind { NOTHING, TRUTH, INTEGER, REAL, TEXT, ARRAY, MAP };

struct head {
    enum kind kind;
    size_t size;     /* of the head itself */
    uint64_t number; /* the value's bits, or how many bytes, items or pairs follow */
};

/* A number of that many bytes behind the tag. */
static bool number_at(struct slice value, size_t bytes, struct head *head) {
    if (value.size < 1 + bytes)
        return false;
    head->size = 1 + bytes;
    head->number = 0;
    for (size_t at = 1; at <= bytes; at++)
        head->number = head->number << 8 | value.data[at];
    return true;
}

static bool unsigned_at(struct slice value, size_t bytes, struct head *head) {
    if (!number_at(value, bytes, head))
        return false;
    if (head->number > INT64_MAX)
        head->number = INT64_MAX;
    return true;
}

static bool signed_at(struct slice value, size_t bytes, struct head *head) {
    if (!number_at(value, bytes, head))
        return false;
    uint64_t sign = (uint64_t)1 << (8 * bytes - 1);
    head->number = (head->number ^ sign) - sign;
    return true;
}

static bool short_head(unsigned char tag, struct head *head) {
    if (tag < 0x80)
        *head = (struct head){INTEGER, 1, tag};
    else if (tag >= 0xE0)
        *head = (struct head){INTEGER, 1, (uint64_t)((int64_t)tag - 0x100)};
    else if (tag < 0x90)
        *head = (struct head){MAP, 1, tag & 0x0F};
    else if (tag < 0xA0)
        *head = (struct head){ARRAY, 1, tag & 0x0F};
    else if (tag < 0xC0)
        *head = (struct head){TEXT, 1, tag & 0x1F};
    else
        return false;
    return true;
}

static bool head_of(struct slice value, struct head *head) {
    if (!value.size)
        return false;
    unsigned char tag = value.data[0];
    if (short_head(tag, head))
        return true;
    head->size = 1;
    switch (tag) {
    case 0xC0: head->kind = NOTHING; return true;
    case 0xC2: case 0xC3: head->kind = TRUTH; head->number = tag & 1; return true;
    case 0xCB: head->kind = REAL; return number_at(value, 8, head);
    case 0xCC: case 0xCD: case 0xCE: case 0xCF:
        head->kind = INTEGER;
        return unsigned_at(value, 1u << (tag - 0xCC), head);
    case 0xD0: case 0xD1: case 0xD2: case 0xD3:
        head->kind = INTEGER;
        return signed_at(value, 1u << (tag - 0xD0), head);
    case 0xC4: case 0xC5: case 0xC6: head->kind = TEXT; return number_at(value, 1u << (tag - 0xC4), head);
    case 0xD9: case 0xDA: case 0xDB: head->kind = TEXT; return number_at(value, 1u << (tag - 0xD9), head);
    case 0xDC: case 0xDD: head->kind = ARRAY; return number_at(value, 2u << (tag - 0xDC), head);
    case 0xDE: case 0xDF: head->kind = MAP; return number_at(value, 2u << (tag - 0xDE), head);
    default: return false;
    }
}

static struct slice after(struct slice slice, size_t size) {
    return (struct slice){slice.data + size, slice.size - size};
}

/* The first value of a slice, with all that it holds; however deep that is, without recursion. */
static bool first_of(struct slice slice, struct slice *value) {
    struct slice rest = slice;
    for (uint64_t left = 1; left; left--) {
        struct head head;
        if (!head_of(rest, &head))
            return false;
        rest = after(rest, head.size);
        if (head.kind == TEXT) {
            if (head.number > rest.size)
                return false;
            rest = after(rest, head.number);
        }
        if (head.kind == ARRAY || head.kind == MAP)
            left += head.kind == MAP ? 2 * head.number : head.number;
    }
    *value = (struct slice){slice.data, slice.size - rest.size};
    return true;
}

static bool is(struct slice value, enum kind kind, struct head *head) {
    return head_of(value, head) && head->kind == kind;
}

bool wire_bytes(struct slice value, struct slice *text) {
    struct head head;
    if (!is(value, TEXT, &head) || head.number > value.size - head.size)
        return false;
    *text = (struct slice){value.data + head.size, head.number};
    return true;
}

bool wire_int(struct slice value, int64_t *number) {
    struct head head;
    if (!is(value, INTEGER, &head))
        return false;
    *number = (int64_t)head.number;
    return true;
}

bool wire_double(struct slice value, double *number) {
    struct head head;
    if (!head_of(value, &head) || (head.kind != REAL && head.kind != INTEGER))
        return false;
    if (head.kind == REAL)
        memcpy(number, &head.number, sizeof *number);
    else
        *number = (double)(int64_t)head.number;
    return true;
}

bool wire_bool(struct slice value, bool *truth) {
    struct head head;
    if (!is(value, TRUTH, &head))
        return false;
    *truth = head.number;
    return true;
}

bool wire_array(struct slice value, struct wire_items *items) {
    struct head head;
    if (!is(value, ARRAY, &head))
        return false;
    *items = (struct wire_items){after(value, head.size), head.number};
    return true;
}

bool wire_map(struct slice value, struct wire_items *items) {
    struct head head;
    if (!is(value, MAP, &head))
        return false;
    *items = (struct wire_items){after(value, head.size), 2 * head.number};
    return true;
}

bool wire_next(struct wire_items *items, struct slice *value) {
    if (!items->left || !first_of(items->rest, value))
        return false;
    items->left--;
    items->rest = after(items->rest, value->size);
    return true;
}

bool wire_find(struct slice map, const char *key, struct slice *value) {
    struct wire_items items;
    struct slice name, found, text;
    bool any = false;
    if (!wire_map(map, &items))
        return false;
    while (wire_next(&items, &name) && wire_next(&items, &found))
        if (wire_bytes(name, &text) && text.size == strlen(key) && !memcmp(text.data, key, text.size)) {
            *value = found;
            any = true;
        }
    return any && !items.left;
}
