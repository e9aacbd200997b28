/* compare_set.c - the members of a list: sorted, each once, and of a long list an index beside them, so that a value is
 * looked up in time that does not depend on how many they are.
 *
 * The index of images that lie close together is a bit for each between the least and the greatest; all others have
 * slots of an open-addressing hash table, at most half of them taken, with the numbers of members (from 1; 0: none). */
#include <stdlib.h>

#include "base/assert.h"
#include "base/bitmap.h"
#include "base/hash.h"
#include "base/memory.h"
#include "encodings/encodings_internal.h"

enum { SEARCHED_MOST = 8 /* as few members are searched for */, SLOT_BITS_LEAST = 6, SLOTS_IN_A_WORD = 2 };

static unsigned slot_bits_of(size_t count) {
  unsigned bits = SLOT_BITS_LEAST;
  while ((UINT64_C(1) << bits) < 2 * (uint64_t)count) bits++;
  return bits;
}

size_t compare_set_bound(ColumnType type, size_t count) {
  size_t member = type_is_string(type) ? sizeof(Bytes) : sizeof(int64_t);
  if (count <= SEARCHED_MOST) return memory_array_size(count, member);
  return memory_array_size(count, member) + ((size_t)1 << slot_bits_of(count)) * sizeof(uint32_t);
}

/* ---- making one ---- */

static int order_of_images(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}
static int order_of_strings(const void *a, const void *b) {
  const Bytes *x = a, *y = b;
  return bytes_compare(x->data, x->length, y->data, y->length);
}

static uint64_t place_of_image(int64_t image, unsigned bits) {
  return ((uint64_t)image * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - bits);
}
static uint64_t place_of_bytes(Bytes value, unsigned bits) { return hash_key(value.data, value.length) >> (64 - bits); }

static void add_slot(uint32_t *slots, unsigned bits, uint64_t place, uint32_t member) {
  uint64_t most = (UINT64_C(1) << bits) - 1;
  while (slots[place]) place = (place + 1) & most;
  slots[place] = member + 1;
}

/* `index` has room for the slots of all members. */
static void index_images(Compare *c, void *index) {
  unsigned bits = slot_bits_of(c->set_count);
  uint64_t words = (UINT64_C(1) << bits) / SLOTS_IN_A_WORD;
  uint64_t span = (uint64_t)c->images[c->set_count - 1] - (uint64_t)c->images[0];
  memset(index, 0, words * sizeof(uint64_t));
  if (span / 64 < words) {
    uint64_t *marks = index;
    for (uint32_t i = 0; i < c->set_count; i++) bit_set(marks, (uint64_t)c->images[i] - (uint64_t)c->images[0]);
    c->marks = marks;
    return;
  }
  for (uint32_t i = 0; i < c->set_count; i++) add_slot(index, bits, place_of_image(c->images[i], bits), i);
  c->slots = index;
  c->slot_bits = bits;
}

static void index_strings(Compare *c, void *index) {
  unsigned bits = slot_bits_of(c->set_count);
  memset(index, 0, ((size_t)1 << bits) * sizeof(uint32_t));
  for (uint32_t i = 0; i < c->set_count; i++) add_slot(index, bits, place_of_bytes(c->strings[i], bits), i);
  c->slots = index;
  c->slot_bits = bits;
}

void compare_set_images(Compare *c, int64_t *images, uint32_t found, size_t room) {
  uint32_t kept = 0;
  qsort(images, found, sizeof *images, order_of_images);
  for (uint32_t i = 0; i < found; i++) {
    if (i == 0 || images[i] != images[i - 1]) images[kept++] = images[i];
  }
  c->images = images;
  c->set_count = kept;
  if (kept > SEARCHED_MOST) index_images(c, images + room);
}

void compare_set_strings(Compare *c, Bytes *strings, uint32_t found, size_t room) {
  uint32_t kept = 0;
  qsort(strings, found, sizeof *strings, order_of_strings);
  for (uint32_t i = 0; i < found; i++) {
    if (i == 0 || order_of_strings(&strings[i], &strings[kept - 1]) != 0) strings[kept++] = strings[i];
  }
  c->strings = strings;
  c->set_count = kept;
  if (kept > SEARCHED_MOST) index_strings(c, strings + room);
}

/* ---- asking it ---- */

/* First member not below `image`. */
static uint32_t lower_bound_image(const Compare *c, int64_t image) {
  uint32_t low = 0, high = c->set_count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (c->images[middle] < image)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

uint32_t compare_set_slice(const Compare *c, int64_t minimum, int64_t maximum, uint32_t *first) {
  *first = lower_bound_image(c, minimum);
  uint32_t end = maximum == INT64_MAX ? c->set_count : lower_bound_image(c, maximum + 1);
  return end > *first ? end - *first : 0;
}

bool compare_set_has_image(const Compare *c, int64_t image) {
  if (c->marks) {
    uint64_t place = (uint64_t)image - (uint64_t)c->images[0];
    return place <= (uint64_t)c->images[c->set_count - 1] - (uint64_t)c->images[0] && bit_get(c->marks, place);
  }
  if (!c->slots) {
    uint32_t at = lower_bound_image(c, image);
    return at < c->set_count && c->images[at] == image;
  }
  uint64_t most = (UINT64_C(1) << c->slot_bits) - 1;
  for (uint64_t place = place_of_image(image, c->slot_bits); c->slots[place]; place = (place + 1) & most) {
    if (c->images[c->slots[place] - 1] == image) return true;
  }
  return false;
}

bool compare_set_has_bytes(const Compare *c, Bytes value) {
  if (!c->slots) return bsearch(&value, c->strings, c->set_count, sizeof value, order_of_strings) != NULL;
  uint64_t most = (UINT64_C(1) << c->slot_bits) - 1;
  for (uint64_t place = place_of_bytes(value, c->slot_bits); c->slots[place]; place = (place + 1) & most) {
    const Bytes *member = &c->strings[c->slots[place] - 1];
    if (member->length == value.length && (value.length == 0 || !memcmp(member->data, value.data, value.length)))
      return true;
  }
  return false;
}

/* ---- zones ---- */

ZoneVerdict compare_set_zone_of_images(const Compare *c, int64_t minimum, int64_t maximum) {
  uint32_t first;
  uint32_t count = compare_set_slice(c, minimum, maximum, &first);
  if (count == 0) return ZONE_NONE;
  bool covered = (uint64_t)maximum - (uint64_t)minimum < count; /* every image of the zone is a member */
  return covered ? ZONE_ALL : ZONE_SOME;
}

/* Images of strings ascend as these do. */
ZoneVerdict compare_set_zone_of_strings(const Compare *c, int64_t minimum, int64_t maximum) {
  uint32_t low = 0, high = c->set_count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (bytes_image(c->strings[middle]) < minimum)
      low = middle + 1;
    else
      high = middle;
  }
  return low < c->set_count && bytes_image(c->strings[low]) <= maximum ? ZONE_SOME : ZONE_NONE;
}

bool compare_set_covers_none(const Compare *c, int64_t *first, int64_t *last) {
  if (type_is_string(c->type)) { /* of strings no zone says that all match */
    *first = bytes_image(c->strings[0]);
    *last = bytes_image(c->strings[c->set_count - 1]);
    return true;
  }
  *first = c->images[0];
  *last = c->images[c->set_count - 1];
  return (uint64_t)*last - (uint64_t)*first >= c->set_count; /* a number between them is no member */
}
