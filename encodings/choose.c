#include "encodings/choose.h"

#include "base/assert.h"
#include "encodings/encodings_internal.h"

/* In the order of their random access, cheapest first. */
static const Codec *const by_access[] = { &codec_constant,   &codec_stride, &codec_bits,  &codec_packed,
                                          &codec_plain,      &codec_runs,   &codec_alp,   &codec_alp_rd,
                                          &codec_dictionary, &codec_fsst,   &codec_front, &codec_delta,
                                          &codec_zstd };
enum { CODECS = sizeof by_access / sizeof *by_access, FSST_BYTES_MIN = 8192 };

static uint64_t strings_bytes(const ChunkInput *in) {
  uint64_t bytes = 0;
  if (!type_is_string(in->type)) return 0;
  for (uint32_t i = 0; i < in->row_count; i++)
    bytes += input_is_null(in, i) ? in->width : ((const Bytes *)in->values)[i].length;
  return bytes;
}

/* No encoding needs more: head, per block validity, alignment and offsets, and per row twice its widest form and half
 * of it. */
static uint64_t encode_bound(const ChunkInput *in, uint64_t bytes) {
  uint64_t rows = round_up(in->row_count, BLOCK_ROWS), blocks = rows / BLOCK_ROWS;
  bool strings = type_is_string(in->type);
  uint64_t per_row = strings ? 8 : UINT64_C(20), symbols = strings ? 2304 + bytes : 0; /* FSST */
  return CHUNK_HEAD_MAX + blocks * (BLOCK_WORDS * 8 + 3 * CHUNK_ALIGNMENT) + rows * per_row + bytes + symbols +
         4 * CHUNK_ALIGNMENT;
}

ChunkRoom chunk_encode_room(const ChunkInput *in) {
  uint64_t bytes = strings_bytes(in);
  return (ChunkRoom){ encode_bound(in, bytes), round_up(plan_scratch(in), 64) + round_up(fsst_scratch(in, bytes), 64) +
                                                 zstd_scratch(in, bytes) };
}

/* Distinct values above which a dictionary cannot pay. Of strings: when hardly any value comes twice. Of numbers: when
 * the codes take three quarters (floats: seven eighths) of the bits that the column takes without one. */
static uint32_t distinct_worth(const CodecPlan *p) {
  const ChunkInput *in = p->input;
  if (type_is_string(in->type)) return in->row_count / 2 + 1;
  uint64_t other = codec_plain.analyze(p), packed = codec_packed.analyze(p);
  if (p->has_decimals) packed = codec_alp.analyze(p);
  if (packed && packed < other) other = packed;
  uint64_t most = other >> type_width_index(in->type), bits = other * 8 / in->row_count * (p->has_decimals ? 7 : 6) / 8;
  if (bits < 16 && most > UINT64_C(1) << bits) most = UINT64_C(1) << bits;
  return most < in->row_count ? (uint32_t)most : in->row_count;
}

static bool is_allowed(const ChooseOptions *o, EncodingId id) {
  return id == ENCODING_PLAIN || !(o->forbidden >> id & 1);
}

/* Left and right parts are for those without a decimal form. */
static void plan_floats(CodecPlan *p, const ChooseOptions *o) {
  if (!type_is_float(p->input->type)) return;
  bool settled = o->forced || p->is_constant;
  if (o->forced == ENCODING_ALP || (!settled && is_allowed(o, ENCODING_ALP)))
    plan_decimals(p, o->forced == ENCODING_ALP);
  bool has_form = p->has_decimals && codec_alp.analyze(p) < codec_plain.analyze(p) / 4 * 3;
  if (o->forced == ENCODING_ALP_RD || (!settled && !has_form && is_allowed(o, ENCODING_ALP_RD)))
    plan_parts(p, o->forced == ENCODING_ALP_RD);
}

static void build_dictionary(CodecPlan *p, const ChooseOptions *o, void *scratch) {
  if (o->forced == ENCODING_DICTIONARY) {
    plan_build_dictionary(p, SEGMENT_ROWS, false, scratch);
    return;
  }
  bool settled = o->forced || p->is_constant || p->is_stride || p->input->type == TYPE_BOOL;
  if (!settled && is_allowed(o, ENCODING_DICTIONARY)) plan_build_dictionary(p, distinct_worth(p), true, scratch);
}

static uint64_t dictionary_bytes(const CodecPlan *p, const ChooseOptions *o) {
  return is_allowed(o, ENCODING_DICTIONARY) ? codec_dictionary.analyze(p) : 0;
}

/* Whether fronts may take less than the dictionary that there is: of each string two lengths, but of every sixteenth.
 */
static bool fronts_may_pay(const CodecPlan *p, const ChooseOptions *o) {
  uint64_t dictionary = dictionary_bytes(p, o);
  return is_allowed(o, ENCODING_FRONT_CODED) && (!dictionary || dictionary > UINT64_C(31) * p->string_count / 16);
}

/* The same of symbols: a string is at least a byte of them, and a byte of them stands for at most 8 of it. What they
 * must save beside it is that of counted_bytes. */
static bool symbols_may_pay(const CodecPlan *p, const ChooseOptions *o) {
  if (p->string_bytes < FSST_BYTES_MIN) return false;
  uint64_t dictionary = dictionary_bytes(p, o);
  if (!dictionary) return true;
  uint64_t least = p->string_bytes / 8;
  if (least < p->string_count) least = p->string_count;
  return dictionary > p->string_bytes / 4 && dictionary > least + least / 4;
}

/* Symbols are learnt when no dictionary already makes little of the strings: learning them takes milliseconds. */
static void plan_strings(CodecPlan *p, const ChooseOptions *o, void *scratch) {
  ColumnType type = p->input->type;
  void *own = (uint8_t *)scratch + round_up(plan_scratch(p->input), 64);
  if (type != TYPE_STRING && type != TYPE_BYTES) return;
  void *frames = (uint8_t *)own + round_up(fsst_scratch(p->input, p->string_bytes), 64);
  if (o->forced == ENCODING_FSST) plan_symbols(p, true, own);
  if (o->forced == ENCODING_ZSTD) plan_frames(p, true, frames);
  if (o->forced == ENCODING_FRONT_CODED) plan_fronts(p, true);
  if (o->forced || p->is_constant) return;
  if (fronts_may_pay(p, o)) plan_fronts(p, false);
  if (is_allowed(o, ENCODING_ZSTD)) plan_frames(p, false, frames);
  if (!is_allowed(o, ENCODING_FSST)) return;
  if (symbols_may_pay(p, o)) plan_symbols(p, false, own);
}

static void plan_shapes(CodecPlan *p, const ChooseOptions *o, void *scratch) {
  plan_floats(p, o);
  build_dictionary(p, o, scratch);
  plan_strings(p, o, scratch);
}

static bool can_hold(const CodecPlan *p, uint32_t encoding) {
  const Codec *codec = codec_by_id(encoding);
  return codec && codec->analyze(p);
}

/* No row is below the one before it. */
static bool zones_ascend(const CodecPlan *p) {
  int64_t highest = INT64_MIN;
  for (uint32_t b = 0; b < p->block_count && p->has_deltas; b++) {
    if (p->blocks[b].minimum > p->blocks[b].maximum) continue; /* no values */
    if (p->blocks[b].delta_minimum < 0 || p->blocks[b].minimum < highest) return false;
    highest = p->blocks[b].maximum;
  }
  return p->has_deltas;
}

/* What a codec must be worth beside one with cheaper access: its bytes and this much more. Always 3 %. Numbers in a
 * dictionary lose their arithmetic (sums, ranges without a look-up), so there it must save a quarter; of floats an
 * eighth, since ALP is unpacked for sums too. Runs must save a quarter: they cost 1 to 2 ns each where a packed block
 * costs 30, and below 20 rows a run they are not taken. Differences cost a pass over the block for every row that is
 * read: they must save 8 bits a row, 2 where the column ascends, since there zones answer for nearly every block of a
 * filter. Symbols and fronts must save a fifth: every use of a string decodes it. Frames must save a half, and 37 % of
 * the symbols: a row costs 16 KiB of decoding. */
static uint64_t counted_bytes(const CodecPlan *p, const Codec *codec, uint64_t bytes) {
  ColumnType type = p->input->type;
  switch (codec->id) {
  case ENCODING_DICTIONARY: return bytes + bytes / (type_is_string(type) ? 32 : type_is_float(type) ? 7 : 3);
  case ENCODING_RUN_LENGTH: return p->runs * 20 > p->input->row_count ? UINT64_MAX : bytes + bytes / 3;
  case ENCODING_DELTA: return bytes + p->input->row_count / (zones_ascend(p) ? 4 : 1);
  case ENCODING_ALP_RD: return bytes + bytes / 16;
  case ENCODING_ZSTD: return 2 * bytes;
  case ENCODING_FRONT_CODED:
  case ENCODING_FSST: return bytes + bytes / 4;
  default: return bytes + bytes / 32;
  }
}

/* The smallest, with what counted_bytes adds to it. */
static const Codec *smallest(const CodecPlan *p, const ChooseOptions *o) {
  const Codec *best = NULL;
  uint64_t best_bytes = 0;
  for (unsigned i = 0; i < CODECS; i++) {
    const Codec *codec = by_access[i];
    uint64_t bytes = is_allowed(o, codec->id) ? codec->analyze(p) : 0;
    if (!bytes) continue;
    if (!best || counted_bytes(p, codec, bytes) < best_bytes) {
      best = codec;
      best_bytes = bytes;
    }
  }
  return best;
}

static Status find_codec(const CodecPlan *p, const ChooseOptions *o, const Codec **out) {
  if (p->string_bytes_most > UINT32_MAX - SEGMENT_ROWS) {
    return status_fail(KVSTORE_LIMIT, "1,024 rows hold %llu bytes of strings",
                       (unsigned long long)p->string_bytes_most);
  }
  *out = o->forced ? codec_by_id(o->forced) : smallest(p, o);
  if (!*out) return status_fail(KVSTORE_ERROR, "there is no encoding %u", o->forced);
  if (!(*out)->analyze(p)) {
    return status_fail(KVSTORE_ERROR, "encoding %s cannot hold this column of type %s", encoding_name((*out)->id),
                       type_name(p->input->type));
  }
  return KVSTORE_OK;
}

Status chunk_encode(const ChunkInput *in, const ChooseOptions *options, uint8_t *out, void *scratch,
                    ChunkResult *result) {
  ASSERT(in->row_count >= 1 && in->row_count <= SEGMENT_ROWS, "ENC-1");
  const ChooseOptions none = { 0 }, *o = options ? options : &none;
  CodecPlan plan;
  const Codec *codec = NULL;
  plan_begin(&plan, in, scratch);
  if (o->forced != ENCODING_ARRAY || !can_hold(&plan, o->forced)) {
    plan_measure(&plan);
    plan_shapes(&plan, o, scratch);
  }
  ChooseOptions free_choice = { .forbidden = o->forbidden };
  if (o->forced && o->or_best && !can_hold(&plan, o->forced)) {
    plan_shapes(&plan, &free_choice, scratch);
    o = &free_choice;
  }
  TRY(find_codec(&plan, o, &codec));
  *result = (ChunkResult){ .encoding = codec->id, .stats = plan.stats };
  result->length = codec->encode(&plan, out);
  ASSERT_SLOW(result->length == codec->analyze(&plan), "ENC-2");
  return KVSTORE_OK;
}
