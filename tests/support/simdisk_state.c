/* simdisk_state.c - what a simulated disk holds, and how a crash changes it. */
#include <stdlib.h>
#include <string.h>

#include "tests/support/simdisk_internal.h"
#include "tests/support/test.h"

static _Noreturn void no_memory(void) {
  fprintf(stderr, "simdisk: out of memory\n");
  abort();
}

void *sim_allocate(size_t size) {
  void *p = calloc(1, size ? size : 1);
  if (!p) no_memory();
  return p;
}

char *sim_copy_string(const char *text) {
  size_t length = strlen(text) + 1;
  return memcpy(sim_allocate(length), text, length);
}

/* Room for one more element of `size` bytes. */
static void *grown(void *array, size_t count, size_t *capacity, size_t size) {
  if (count < *capacity) return array;
  *capacity = *capacity ? *capacity * 2 : 16;
  array = realloc(array, *capacity * size);
  if (!array) no_memory();
  return array;
}

/* ---- content ---- */

/* What is new of it says nothing yet. */
static void stretch(SimContent *c, size_t size) {
  if (size > c->capacity) {
    size_t capacity = c->capacity * 2 > size ? c->capacity * 2 : size;
    uint8_t *bytes = realloc(c->bytes, capacity);
    if (!bytes) no_memory();
    c->bytes = bytes;
    c->capacity = capacity;
  }
  c->size = size;
}

static void resize(SimContent *c, size_t size) {
  size_t before = c->size;
  stretch(c, size);
  if (size > before) memset(c->bytes + before, 0, size - before);
}

static void put(SimContent *c, uint64_t offset, const uint8_t *bytes, size_t length) {
  if (length == 0) return;
  if (offset > c->size) resize(c, offset);
  if (offset + length > c->size) stretch(c, offset + length);
  memcpy(c->bytes + offset, bytes, length);
}

void sim_set_content(SimContent *c, const uint8_t *bytes, size_t length) {
  resize(c, 0);
  put(c, 0, bytes, length);
}

static void apply(SimContent *c, const SimOp *op) {
  switch (op->kind) {
  case SIM_WRITE: put(c, op->offset, op->bytes, op->length); break;
  case SIM_ALLOCATE:
    if (op->offset + op->length > c->size) resize(c, op->offset + op->length);
    break;
  case SIM_TRUNCATE: resize(c, op->offset); break;
  }
}

static Status read_live(SimNode *node, SimContent *into) {
  OsStat stat;
  TRY(os_stat_file(node->live, &stat));
  stretch(into, stat.size);
  size_t got = 0;
  TRY(os_read(node->live, 0, into->bytes, into->size, &got));
  into->size = got;
  return KVSTORE_OK;
}

Status sim_content(SimNode *node, SimContent *out) {
  *out = (SimContent){ 0 };
  Status status = read_live(node, out);
  if (status != KVSTORE_OK) free(out->bytes);
  return status;
}

/* ---- nodes and names ---- */

SimNode *sim_find(SimDisk *disk, const char *name) {
  for (size_t i = 0; i < disk->node_count; i++) {
    SimNode *node = disk->nodes[i];
    if (node->name && strcmp(node->name, name) == 0) return node;
  }
  return NULL;
}

static Status add_live(SimDisk *disk, OsFile **live) {
  static const char inner[] = "node";
  TRY(os_open(disk->memory, inner, OS_OPEN_CREATE | OS_OPEN_EXCLUSIVE, live));
  return os_unlink(disk->memory, inner);
}

/* `live` NULL: a new, empty one. */
static Status add_node(SimDisk *disk, const char *name, OsFile *live, SimNode **out) {
  if (!live) TRY(add_live(disk, &live));
  SimNode *node = sim_allocate(sizeof *node);
  node->id = ++disk->ids_used;
  node->name = name ? sim_copy_string(name) : NULL;
  node->live = live;
  disk->nodes = grown(disk->nodes, disk->node_count, &disk->node_capacity, sizeof *disk->nodes);
  disk->nodes[disk->node_count++] = node;
  *out = node;
  return KVSTORE_OK;
}

Status sim_node_create(SimDisk *disk, const char *name, SimNode **out) {
  TRY(add_node(disk, name, NULL, out));
  sim_pend_name(disk, SIM_CREATE, name, NULL, *out);
  return KVSTORE_OK;
}

void sim_drop_pending(SimNode *node) {
  for (size_t i = 0; i < node->pending_count; i++) free(node->pending[i].bytes);
  node->pending_count = 0;
}

static void free_node(SimNode *node) {
  sim_drop_pending(node);
  free(node->pending);
  free(node->durable.bytes);
  free(node->name);
  os_close(node->live);
  range_locks_release(&node->locks);
  free(node);
}

void sim_node_settle(SimNode *node) {
  if (node->name || node->open_count > 0) return;
  os_close(node->live);
  node->live = NULL;
}

void sim_pend(SimNode *node, SimOpKind kind, uint64_t offset, uint64_t length, const uint8_t *bytes) {
  SimOp op = { kind, offset, length, NULL };
  if (bytes) {
    op.bytes = sim_allocate(length);
    if (length) memcpy(op.bytes, bytes, length);
  }
  node->pending = grown(node->pending, node->pending_count, &node->pending_capacity, sizeof *node->pending);
  node->pending[node->pending_count++] = op;
}

void sim_pend_name(SimDisk *disk, SimNameOpKind kind, const char *name, const char *to, SimNode *node) {
  disk->name_ops = grown(disk->name_ops, disk->name_op_count, &disk->name_op_capacity, sizeof *disk->name_ops);
  disk->name_ops[disk->name_op_count++] =
    (SimNameOp){ kind, sim_copy_string(name), to ? sim_copy_string(to) : NULL, node };
}

/* Takes a durable name away; with `node`, only when it is the name of this one. */
static void remove_durable_name(SimDisk *disk, const char *name, const SimNode *node) {
  for (size_t i = 0; i < disk->name_count; i++) {
    if (strcmp(disk->names[i].name, name) != 0 || (node && disk->names[i].node != node)) continue;
    free(disk->names[i].name);
    memmove(&disk->names[i], &disk->names[i + 1], (disk->name_count - i - 1) * sizeof *disk->names);
    disk->name_count--;
    return;
  }
}

void sim_set_durable_name(SimDisk *disk, const char *name, SimNode *node) {
  remove_durable_name(disk, name, NULL);
  disk->names = grown(disk->names, disk->name_count, &disk->name_capacity, sizeof *disk->names);
  disk->names[disk->name_count++] = (SimName){ sim_copy_string(name), node };
}

static void apply_name_op(SimDisk *disk, const SimNameOp *op) {
  switch (op->kind) {
  case SIM_CREATE: sim_set_durable_name(disk, op->name, op->node); break;
  case SIM_UNLINK: remove_durable_name(disk, op->name, op->node); break;
  case SIM_RENAME:
    remove_durable_name(disk, op->name, op->node);
    sim_set_durable_name(disk, op->to, op->node);
    break;
  }
}

static void free_name_op(SimNameOp *op) {
  free(op->name);
  free(op->to);
}

void sim_forget_name(SimDisk *disk, const char *name) {
  size_t kept = 0;
  remove_durable_name(disk, name, NULL);
  for (size_t i = 0; i < disk->name_op_count; i++) {
    SimNameOp *op = &disk->name_ops[i];
    if (strcmp(op->name, name) == 0 || (op->to && strcmp(op->to, name) == 0))
      free_name_op(op);
    else
      disk->name_ops[kept++] = *op;
  }
  disk->name_op_count = kept;
}

/* ---- syncs ---- */

Status sim_sync_node(SimNode *node) {
  if (node->mapped) {
    TRY(read_live(node, &node->durable));
  } else {
    for (size_t i = 0; i < node->pending_count; i++) apply(&node->durable, &node->pending[i]);
  }
  sim_drop_pending(node);
  return KVSTORE_OK;
}

static bool same_directory(const char *a, const char *b) {
  const char *a_slash = strrchr(a, '/'), *b_slash = strrchr(b, '/');
  size_t a_length = a_slash ? (size_t)(a_slash - a) + 1 : 0, b_length = b_slash ? (size_t)(b_slash - b) + 1 : 0;
  return a_length == b_length && memcmp(a, b, a_length) == 0;
}

void sim_sync_names(SimDisk *disk, const char *path) {
  size_t kept = 0;
  for (size_t i = 0; i < disk->name_op_count; i++) {
    SimNameOp *op = &disk->name_ops[i];
    if (same_directory(op->name, path) || (op->to && same_directory(op->to, path))) {
      apply_name_op(disk, op);
      free_name_op(op);
    } else {
      disk->name_ops[kept++] = *op;
    }
  }
  disk->name_op_count = kept;
}

/* ---- the crash ---- */

/* How likely this crash keeps, drops and tears; each crash has its own mix. */
typedef struct Mix {
  uint64_t keep, drop, tear;
} Mix;

static Mix choose_mix(uint64_t *random) {
  Mix mix = { test_random_below(random, 9), test_random_below(random, 9), test_random_below(random, 5) };
  if (mix.keep + mix.drop == 0) mix.keep = mix.drop = 1;
  return mix;
}

/* Each sector that the write touches is kept or not, by a coin. False when all or none were. */
static bool tear(SimContent *c, const SimOp *op, uint64_t *random) {
  bool kept = false, dropped = false;
  for (uint64_t at = op->offset, end = op->offset + op->length; at < end;) {
    uint64_t next = (at / SIM_SECTOR + 1) * SIM_SECTOR;
    if (next > end) next = end;
    if (test_random(random) & 1) {
      put(c, at, op->bytes + (at - op->offset), (size_t)(next - at));
      kept = true;
    } else {
      dropped = true;
    }
    at = next;
  }
  return kept && dropped;
}

static void decide(SimDisk *disk, SimNode *node, const SimOp *op, const Mix *mix, uint64_t *random) {
  uint64_t choice = test_random_below(random, mix->keep + mix->drop + mix->tear);
  bool whole = op->kind != SIM_WRITE || op->length <= SIM_SECTOR - op->offset % SIM_SECTOR;
  if (choice >= mix->keep + mix->drop && !whole) {
    if (tear(&node->durable, op, random)) disk->statistics.torn++;
    return;
  }
  bool keep = choice < mix->keep || (choice >= mix->keep + mix->drop && (test_random(random) & 1));
  if (keep) apply(&node->durable, op);
  if (keep)
    disk->statistics.kept++;
  else
    disk->statistics.dropped++;
}

/* Pages changed through a mapping become pending writes, on top of what is pending anyway. */
static Status pend_mapped_pages(SimNode *node) {
  if (!node->mapped || !node->live) return KVSTORE_OK;
  SimContent content;
  TRY(sim_content(node, &content));
  for (size_t at = 0; at < content.size; at += SIM_PAGE) {
    size_t length = content.size - at < SIM_PAGE ? content.size - at : SIM_PAGE;
    bool same = at + length <= node->durable.size && memcmp(node->durable.bytes + at, content.bytes + at, length) == 0;
    if (!same) sim_pend(node, SIM_WRITE, at, length, content.bytes + at);
  }
  free(content.bytes);
  return KVSTORE_OK;
}

/* Applies what is pending in a random order (Fisher-Yates). */
static Status decide_node(SimDisk *disk, SimNode *node, const Mix *mix, uint64_t *random) {
  TRY(pend_mapped_pages(node));
  for (size_t left = node->pending_count; left > 0; left--) {
    size_t pick = test_random_below(random, left);
    SimOp op = node->pending[pick];
    node->pending[pick] = node->pending[left - 1];
    node->pending[left - 1] = op;
    decide(disk, node, &op, mix, random);
  }
  sim_drop_pending(node);
  return KVSTORE_OK;
}

static void decide_names(SimDisk *disk, const Mix *mix, uint64_t *random) {
  for (size_t i = 0; i < disk->name_op_count; i++) {
    bool keep = test_random_below(random, mix->keep + mix->drop) < mix->keep;
    if (keep) apply_name_op(disk, &disk->name_ops[i]);
    if (keep)
      disk->statistics.names_kept++;
    else
      disk->statistics.names_dropped++;
    free_name_op(&disk->name_ops[i]);
  }
  disk->name_op_count = 0;
}

/* The running content of a file that nobody can see any more, for its next life: it has its pages already. */
static OsFile *take_live(SimNode *old) {
  OsFile *live = old->open_count || old->maps ? NULL : old->live;
  if (live) old->live = NULL;
  return live;
}

/* The node of the next life: the durable content of the old one, under its durable name. */
static Status revive(SimDisk *disk, SimName *name) {
  SimNode *node, *old = name->node;
  TRY(add_node(disk, name->name, take_live(old), &node));
  TRY(os_write(node->live, 0, old->durable.bytes, old->durable.size));
  TRY(os_truncate(node->live, old->durable.size));
  sim_set_content(&node->durable, old->durable.bytes, old->durable.size);
  name->node = node;
  return KVSTORE_OK;
}

Status sim_crash(SimDisk *disk, uint64_t seed) {
  uint64_t random = seed;
  Mix mix = choose_mix(&random), name_mix = choose_mix(&random);
  decide_names(disk, &name_mix, &random);
  size_t old_count = disk->node_count;
  for (size_t i = 0; i < old_count; i++) TRY(decide_node(disk, disk->nodes[i], &mix, &random));
  for (size_t i = 0; i < disk->name_count; i++) TRY(revive(disk, &disk->names[i]));
  for (size_t i = 0; i < old_count; i++) free_node(disk->nodes[i]);
  disk->node_count -= old_count;
  memmove(disk->nodes, disk->nodes + old_count, disk->node_count * sizeof *disk->nodes);
  disk->life++;
  disk->power_is_off = false;
  disk->crash_at = 0;
  disk->statistics.crashes++;
  return KVSTORE_OK;
}

/* ---- copies and the end ---- */

static SimNode *counterpart(const SimDisk *from, const SimDisk *to, const SimNode *node) {
  for (size_t i = 0; i < from->node_count; i++) {
    if (from->nodes[i] == node) return to->nodes[i];
  }
  return NULL;
}

static Status copy_node(const SimNode *from, SimDisk *disk) {
  SimNode *to;
  TRY(add_node(disk, from->name, NULL, &to));
  sim_set_content(&to->durable, from->durable.bytes, from->durable.size);
  for (size_t i = 0; i < from->pending_count; i++) {
    const SimOp *op = &from->pending[i];
    sim_pend(to, op->kind, op->offset, op->length, op->bytes);
  }
  to->mapped = from->mapped;
  if (from->live) {
    SimContent content;
    TRY(sim_content((SimNode *)from, &content));
    Status status = os_write(to->live, 0, content.bytes, content.size);
    free(content.bytes);
    TRY(status);
  }
  sim_node_settle(to);
  return KVSTORE_OK;
}

Status sim_copy_state(SimDisk *from, SimDisk *to) {
  for (size_t i = 0; i < from->node_count; i++) TRY(copy_node(from->nodes[i], to));
  for (size_t i = 0; i < from->name_count; i++) {
    sim_set_durable_name(to, from->names[i].name, counterpart(from, to, from->names[i].node));
  }
  for (size_t i = 0; i < from->name_op_count; i++) {
    const SimNameOp *op = &from->name_ops[i];
    sim_pend_name(to, op->kind, op->name, op->to, counterpart(from, to, op->node));
  }
  to->random_state = from->random_state;
  to->now_ms = from->now_ms;
  to->power_is_off = from->power_is_off;
  return KVSTORE_OK;
}

void sim_release_state(SimDisk *disk) {
  for (size_t i = 0; i < disk->node_count; i++) free_node(disk->nodes[i]);
  for (size_t i = 0; i < disk->name_count; i++) free(disk->names[i].name);
  for (size_t i = 0; i < disk->name_op_count; i++) free_name_op(&disk->name_ops[i]);
  free(disk->nodes);
  free(disk->names);
  free(disk->name_ops);
  free(disk->ignored_suffix);
}
