/* cli_sources.c - columns over keys and values, read from a command line. */
#include "cli/cli_sources.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/cli_text.h"
#include "cli/cli_value.h"

char *sources_text(Sources *sources, const char *from, size_t length) {
  char *text = cli_allocate(length + 1, 1);
  memcpy(text, from, length);
  if (sources->text_count == sources->text_capacity) {
    sources->text_capacity = 2 * sources->text_capacity + 8;
    sources->texts = cli_reallocate(sources->texts, sources->text_capacity, sizeof *sources->texts);
  }
  return sources->texts[sources->text_count++] = text;
}

void sources_free(Sources *sources) {
  for (size_t i = 0; i < sources->text_count; i++) free(sources->texts[i]);
  free(sources->texts);
  free(sources->columns);
}

static int starts(const char *text, const char *word) { return strncmp(text, word, strlen(word)) == 0; }

int source_is_one(const char *name) { return starts(name, "part(") || starts(name, "at(") || starts(name, "json("); }

static void add_column(Sources *sources, const char *name, const char *source, int type, uint32_t width) {
  for (size_t i = 0; i < sources->count; i++)
    if (strcmp(sources->columns[i].name, name) == 0) return;
  if (sources->count == sources->capacity) {
    sources->capacity = 2 * sources->capacity + 8;
    sources->columns = cli_reallocate(sources->columns, sources->capacity, sizeof *sources->columns);
  }
  sources->columns[sources->count++] = (KVPairColumn){ name, source, type, width };
}

/* The parenthesis that ends a source: that before a type, which may have its own, decimal(18,2), or the last. */
static const char *source_end(const char *text) {
  const char *end = strrchr(text, ')'), *typed = strstr(text, "):decimal(");
  return typed && end && !end[1] ? typed : end;
}

/* `json(temp)` or `json(temp):i64`. CLI_DONE, or CLI_FAILED after a message. */
int sources_add(Sources *sources, const char *name, size_t name_length, const char *text, int usual) {
  const char *end = source_end(text);
  int type = usual;
  uint32_t width = 0;
  if (!end) return cli_fail("%s: a source ends with )", text);
  if (end[1] == ':') {
    if (!type_read(end + 2, &type, &width)) return cli_fail("%s: there is no type %s", text, end + 2);
  } else if (end[1]) {
    return cli_fail("%s: behind a source stands nothing, or a colon and a type", text);
  } else if (starts(text, "at(")) {
    return cli_fail("%s: what stands there? Say its type: %s:i64", text, text);
  } else if (starts(text, "part(")) {
    type = KVTABLE_TYPE_NONE; /* as it is declared, or a string */
  }
  add_column(sources, sources_text(sources, name, name_length), sources_text(sources, text, (size_t)(end + 1 - text)),
             type, width);
  return CLI_DONE;
}

int sources_add_named(Sources *sources, const char *what, const char *text) {
  const char *equals = strchr(text, '=');
  if (!equals || equals == text || !source_is_one(equals + 1))
    return cli_fail("%s%s: give NAME=part(N), NAME=at(OFFSET):TYPE or NAME=json(PATH)", what, text);
  for (size_t i = 0; i < sources->count; i++) {
    const char *name = sources->columns[i].name;
    if (strlen(name) == (size_t)(equals - text) && memcmp(name, text, strlen(name)) == 0)
      return cli_fail("%s%s: there is a column %s already", what, text, name);
  }
  return sources_add(sources, text, (size_t)(equals - text), equals + 1, KVTABLE_TYPE_NONE);
}

/* ---- sources within expressions ---- */

/* The type of what stands beside a source (KVTABLE_TYPE_*), unless it is unknown, or it is only asked whether there is
 * something. */
typedef enum Kin { KIN_UNKNOWN = -1, KIN_ANY = -2, KIN_TEXT = KVTABLE_TYPE_STRING, KIN_NUMBER = KVTABLE_TYPE_F64 } Kin;

/* Words that say a type; with a text in quotes behind it. A date is compared with the timestamps that JSON may have. */
static const struct {
  const char *word;
  Kin kin;
  int has_text;
} kin_words[] = {
  { "true", (Kin)KVTABLE_TYPE_BOOL, 0 },         { "false", (Kin)KVTABLE_TYPE_BOOL, 0 },
  { "date", (Kin)KVTABLE_TYPE_TIMESTAMP, 1 },    { "timestamp", (Kin)KVTABLE_TYPE_TIMESTAMP, 1 },
  { "time", (Kin)KVTABLE_TYPE_TIME, 1 },         { "uuid", (Kin)KVTABLE_TYPE_UUID, 1 },
  { "duration", (Kin)KVTABLE_TYPE_DURATION, 1 }, { "interval", (Kin)KVTABLE_TYPE_DURATION, 1 },
};

static int is_word_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || (c & 0x80);
}

static size_t blanks_at(const char *text) { return strspn(text, " \t\r\n"); }

/* Behind a quoted text that begins here; its end where it has none. */
static size_t quoted_length(const char *text) {
  size_t at = 1;
  while (text[at] && (text[at] != *text || text[at + 1] == *text)) at += text[at] == *text ? 2 : 1;
  return at + (text[at] != 0);
}

static size_t type_length(const char *text) {
  size_t at = 0;
  while (is_word_character(text[at])) at++;
  if (text[at] == '(') at += strcspn(text + at, ")") + 1;
  if (text[at] == ':') at += 1 + strspn(text + at + 1, "0123456789"); /* decimal:2 */
  return strlen(text) < at ? strlen(text) : at;
}

size_t source_length(const char *text) {
  if (!source_is_one(text)) return 0;
  int depth = 0;
  for (size_t at = strcspn(text, "("); text[at];) {
    depth += (text[at] == '(') - (text[at] == ')');
    at += text[at] == '"' || text[at] == '\'' ? quoted_length(text + at) : 1;
    if (depth == 0) return at + (text[at] == ':' ? 1 + type_length(text + at + 1) : 0);
  }
  return 0;
}

/* The type of a word of `length` characters, before a text in quotes or not. */
static Kin kin_of_word(const char *word, size_t length, int has_text) {
  for (size_t i = 0; i < sizeof kin_words / sizeof *kin_words; i++)
    if (kin_words[i].has_text == has_text && strlen(kin_words[i].word) == length &&
        strncasecmp(kin_words[i].word, word, length) == 0)
      return kin_words[i].kin;
  return KIN_UNKNOWN;
}

/* Of the word that ends before `at`. */
static Kin kin_of_word_before(const char *text, size_t at, int has_text) {
  size_t begin = at;
  while (begin && is_word_character(text[begin - 1])) begin--;
  return kin_of_word(text + begin, at - begin, has_text);
}

/* Of a text whose closing quote is before `at`. */
static Kin kin_of_text_before(const char *text, size_t at) {
  for (at--; at && text[at - 1] != '\'';) at--;
  if (at) at--; /* on the opening quote */
  while (at && strchr(" \t\r\n", text[at - 1])) at--;
  Kin kin = kin_of_word_before(text, at, 1);
  return kin == KIN_UNKNOWN ? KIN_TEXT : kin;
}

/* What it is compared or computed with, from what stands before it. */
static Kin kin_before(const char *text, size_t at) {
  while (at && strchr(" \t\r\n", text[at - 1])) at--;
  size_t operator_end = at;
  if (at && strchr("+-*/%&", text[at - 1])) return KIN_NUMBER;
  while (at && strchr("=<>!", text[at - 1])) at--;
  if (at == operator_end) return KIN_UNKNOWN;
  while (at && strchr(" \t\r\n", text[at - 1])) at--;
  if (at && text[at - 1] == '\'') return kin_of_text_before(text, at);
  Kin kin = kin_of_word_before(text, at, 0);
  if (kin != KIN_UNKNOWN) return kin;
  return at && strchr("0123456789.", text[at - 1]) ? KIN_NUMBER : KIN_UNKNOWN;
}

/* Behind the word, in any case of letters, and the blanks after it; NULL: another stands there. */
static const char *behind_word(const char *text, const char *word) {
  size_t length = strlen(word);
  if (strncasecmp(text, word, length) != 0 || is_word_character(text[length])) return NULL;
  return text + length + blanks_at(text + length);
}

/* The same from what follows it. */
static Kin kin_behind(const char *behind) {
  static const char *const words[] = { "not", "in", "like", "between" };
  behind += blanks_at(behind);
  const char *tested = behind_word(behind, "is");
  if (tested) {
    const char *negated = behind_word(tested, "not");
    return behind_word(negated ? negated : tested, "nan") ? KIN_NUMBER : KIN_ANY;
  }
  if (*behind && strchr("+-*/%&", *behind)) return KIN_NUMBER;
  behind += strspn(behind, "=<>!");
  behind += blanks_at(behind);
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    const char *next = behind_word(behind, words[i]);
    if (next) behind = next;
  }
  behind += strspn(behind, " (");
  if (*behind == '\'') return KIN_TEXT;
  size_t word = 0;
  while (is_word_character(behind[word])) word++;
  Kin kin = kin_of_word(behind, word, behind[word + blanks_at(behind + word)] == '\'');
  if (word && kin != KIN_UNKNOWN) return kin;
  return *behind && strchr("0123456789.+-", *behind) ? KIN_NUMBER : KIN_UNKNOWN;
}

/* Of a source between `begin` and `end`, or of the parentheses around it, unless they are a function's. */
static Kin kin_of(const char *text, size_t begin, size_t end) {
  for (;;) {
    Kin before = kin_before(text, begin), behind = kin_behind(text + end);
    if (behind == KIN_ANY && before != KIN_UNKNOWN) return before;
    if (before != KIN_UNKNOWN || behind != KIN_UNKNOWN) return behind != KIN_UNKNOWN ? behind : before;
    while (begin && strchr(" \t\r\n", text[begin - 1])) begin--;
    end += blanks_at(text + end);
    if (!begin || text[begin - 1] != '(' || text[end] != ')') return KIN_UNKNOWN;
    if (begin > 1 && is_word_character(text[begin - 2])) return KIN_UNKNOWN;
    begin--;
    end++;
  }
}

static const KVPairColumn *find_column(const Sources *sources, const char *name) {
  for (size_t i = 0; i < sources->count; i++)
    if (strcmp(sources->columns[i].name, name) == 0) return &sources->columns[i];
  return NULL;
}

/* Whether JSON needs one more column, of another type, beside what is there under its own name. A string holds every
 * value that there may be. */
static int needs_own_type(const KVPairColumn *there, Kin kin) {
  if (kin == KIN_ANY) return !there || there->type != KVTABLE_TYPE_STRING;
  if (kin == KIN_UNKNOWN || !there) return 0;
  return there->type != (int)kin && (kin != KIN_NUMBER || there->type != KVTABLE_TYPE_NONE);
}

/* The name of the source's column. */
static int name_source(Sources *sources, const char *text, int usual, Kin kin, const char **name) {
  const KVPairColumn *there = find_column(sources, text);
  int says_type = !starts(text, "json(") || strstr(text, "):");
  *name = text;
  if (!says_type && needs_own_type(there, kin)) {
    Text typed = TEXT_EMPTY;
    text_add_string(&typed, text);
    text_add_string(&typed, ":");
    text_add_string(&typed, kvtable_type_name(kin == KIN_ANY ? KVTABLE_TYPE_STRING : (int)kin));
    *name = sources_text(sources, typed.data, typed.length);
    text_free(&typed);
  } else if (there) {
    return CLI_DONE;
  }
  if (kin == KIN_NUMBER)
    usual = usual == KVTABLE_TYPE_STRING ? KVTABLE_TYPE_F64 : usual;
  else if (kin != KIN_UNKNOWN && kin != KIN_ANY)
    usual = (int)kin;
  return sources_add(sources, *name, strlen(*name), *name, usual);
}

/* Whether a source from `at` on is all that stands between two commas. */
static int is_alone(const char *text, size_t at, size_t length) {
  return (at == 0 || text[at - 1] == ',') && (!text[at + length] || text[at + length] == ',');
}

typedef struct Piece {
  size_t length;
  const char *source; /* NULL: it is none */
} Piece;

static const char *unquoted(Sources *sources, const char *text, size_t length) {
  char *out = sources_text(sources, text, length), *to = out;
  for (const char *from = out; *from; from++) {
    *to++ = *from;
    from += from[0] == '"' && from[1] == '"';
  }
  *to = '\0';
  return out;
}

/* A text, a name in quotes, a source, or one character of something else. */
static Piece piece_at(Sources *sources, const char *text, size_t at) {
  Piece piece = { 1, NULL };
  if (text[at] == '\'') {
    piece.length = quoted_length(text + at);
  } else if (text[at] == '"') {
    piece.length = quoted_length(text + at);
    const char *name = unquoted(sources, text + at + 1, piece.length > 2 ? piece.length - 2 : 0);
    if (source_is_one(name)) piece.source = name;
  } else if (!at || !is_word_character(text[at - 1])) {
    size_t length = source_length(text + at);
    if (length) piece = (Piece){ length, sources_text(sources, text + at, length) };
  }
  return piece;
}

static void add_quoted(Text *out, const char *name) {
  text_add_string(out, "\"");
  for (; *name; name++) text_add(out, *name == '"' ? "\"\"" : name, *name == '"' ? 2 : 1);
  text_add_string(out, "\"");
}

/* Sources become names in quotes; what stands alone in a list, and all else, stays as it is. */
static int copy_piece(Sources *sources, const char *text, size_t *at, int usual, int is_list, Text *out) {
  Piece piece = piece_at(sources, text, *at);
  const char *from = text + *at, *name;
  Kin kin = kin_of(text, *at, *at + piece.length);
  int stays = !piece.source || (is_list && *from != '"' && is_alone(text, *at, piece.length));
  *at += piece.length;
  if (stays) {
    text_add(out, from, piece.length);
    return CLI_DONE;
  }
  int result = name_source(sources, piece.source, usual, kin, &name);
  if (!result) add_quoted(out, name);
  return result;
}

/* A name in quotes, or a word, at `at`. */
static int is_name_at(Sources *sources, const char *text, size_t at, size_t piece, const char *name) {
  if (text[at] == '"') return piece > 2 && strcmp(unquoted(sources, text + at + 1, piece - 2), name) == 0;
  return (!at || !is_word_character(text[at - 1])) && strncmp(text + at, name, strlen(name)) == 0 &&
         !is_word_character(text[at + strlen(name)]);
}

static int is_behind_as(const char *text, size_t at) {
  while (at && strchr(" \t\r\n", text[at - 1])) at--;
  return at > 2 && strncasecmp(text + at - 2, "as", 2) == 0 && !is_word_character(text[at - 3]);
}

int sources_say_name(Sources *sources, const char *text, const char *name) {
  int said = NAME_NOT_SAID;
  for (size_t at = 0; text[at];) {
    Piece piece = piece_at(sources, text, at);
    if (is_name_at(sources, text, at, piece.length, name)) {
      if (is_behind_as(text, at)) return NAME_GIVEN;
      said = NAME_SAID;
    }
    at += piece.length;
  }
  return said;
}

void sources_add_kept(Sources *sources, const KVDeclaredColumn *kept) {
  add_column(sources, sources_text(sources, kept->name, strlen(kept->name)),
             sources_text(sources, kept->source, strlen(kept->source)), kept->type, kept->width);
}

const char *sources_quote_names(Sources *sources, const char *text) {
  Text out = TEXT_EMPTY;
  for (size_t at = 0; text[at];) {
    Piece piece = piece_at(sources, text, at);
    if (piece.source && text[at] != '"')
      add_quoted(&out, piece.source);
    else
      text_add(&out, text + at, piece.length);
    at += piece.length;
  }
  const char *quoted = sources_text(sources, out.length ? out.data : "", out.length);
  text_free(&out);
  return quoted;
}

/* What is left of an item of an order: nothing, or words that say a direction. */
static int is_direction(const char *text, size_t length) {
  static const char *const words[] = { "asc", "desc", "nulls" };
  size_t blanks = blanks_at(text);
  int found = blanks >= length;
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) found |= blanks && behind_word(text + blanks, words[i]);
  return found;
}

/* JSON without a type, there as a string. */
static int is_shown_as_text(const Sources *sources, const char *source) {
  const KVPairColumn *there = find_column(sources, source);
  return there && there->type == KVTABLE_TYPE_STRING && starts(source, "json(") && !strstr(source, "):");
}

const char *sources_aggregated(Sources *sources, const char *text) {
  text += blanks_at(text);
  Piece piece = piece_at(sources, text, 0);
  size_t end = piece.length + blanks_at(text + piece.length);
  if (!piece.source || *piece.source != *text || (text[end] && text[end] != ',')) return text;
  if (!is_shown_as_text(sources, piece.source)) return text;
  Text out = TEXT_EMPTY;
  text_add(&out, text, piece.length);
  text_add_string(&out, ":f64");
  text_add_string(&out, text + end);
  const char *aggregated = sources_text(sources, out.data, out.length);
  text_free(&out);
  return aggregated;
}

const char *sources_order(Sources *sources, const char *text) {
  Text out = TEXT_EMPTY;
  int begins = 1, depth = 0;
  for (size_t at = 0; text[at];) {
    Piece piece = piece_at(sources, text, at);
    const char *behind = text + at + piece.length;
    size_t rest = strcspn(behind, ",");
    int is_alone_here = begins && piece.source && *piece.source == text[at] && is_direction(behind, rest);
    if (is_alone_here && is_shown_as_text(sources, piece.source)) {
      text_add(&out, text + at, piece.length);
      text_add_string(&out, ":f64");
      text_add(&out, behind, rest);
      text_add_string(&out, ",");
    }
    text_add(&out, text + at, piece.length);
    depth += (text[at] == '(' && piece.length == 1) - (text[at] == ')');
    begins = (begins && blanks_at(text + at)) || (text[at] == ',' && !depth);
    at += piece.length;
  }
  const char *order = sources_text(sources, out.length ? out.data : "", out.length);
  text_free(&out);
  return order;
}

int sources_quote(Sources *sources, const char *text, int usual, int is_list, const char **quoted) {
  Text out = TEXT_EMPTY;
  int result = CLI_DONE;
  for (size_t at = 0; text[at] && !result;) result = copy_piece(sources, text, &at, usual, is_list, &out);
  *quoted = sources_text(sources, out.length ? out.data : "", out.length);
  text_free(&out);
  return result;
}
