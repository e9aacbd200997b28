/* cli_txn.c - several operations as one transaction: all of them, or nothing and the name of the one that failed.
 *
 * Everything is read and understood before the store is opened. Operations then run in one write transaction; what they
 * print is kept until it has committed. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/cli_json.h"
#include "cli/cli_words.h"

typedef struct Operation Operation;

typedef struct Txn {
  Cli *cli;
  KVColumnFamily *family;
  Operation *operations;
  size_t count, capacity;
} Txn;

/* One kind of operation. */
typedef struct Verb {
  const char *name;
  const char *usage;
  size_t words_min, words_max; /* the name included */
  int takes_ttl;               /* ttl SECONDS may end it */
  int has_key;
  int (*run)(Txn *txn, Operation *operation); /* CLI_*, after a message */
} Verb;

struct Operation {
  const Verb *verb;
  Words words;
  uint64_t ttl_seconds;
  Text text;   /* as the user wrote it, readable */
  size_t line; /* of the input; 0: an argument */
  enum { ANSWER_NONE, ANSWER_VALUE, ANSWER_YES, ANSWER_NO } answer;
  void *value; /* of get */
  int value_length;
};

static const Text *word_of(const Operation *operation, size_t index) { return &operation->words.words[index]; }

/* The message that ends a transaction: which operation, and why. */
static int refuse(const Txn *txn, const Operation *operation, int result, const char *why) {
  size_t number = (size_t)(operation - txn->operations) + 1;
  char place[48] = "";
  if (operation->line) snprintf(place, sizeof place, " (line %zu)", operation->line);
  cli_fail("nothing was done: operation %zu%s, %s: %s", number, place, operation->text.data, why);
  return result;
}

static int refuse_code(const Txn *txn, const Operation *operation, int code) {
  if (code == KVSTORE_NOTFOUND) return refuse(txn, operation, CLI_NOT_FOUND, "there is no such key");
  return refuse(txn, operation, CLI_FAILED, kvstore_errmsg(txn->cli->store));
}

/* ---- the operations ---- */

static int run_put(Txn *txn, Operation *operation) {
  const Text *key = word_of(operation, 1), *value = word_of(operation, 2);
  int code = kvstore_cf_put_ttl(txn->family, key->data, (int)key->length, value->data, (int)value->length,
                                cli_expiry_in(operation->ttl_seconds));
  return code == KVSTORE_OK ? CLI_DONE : refuse_code(txn, operation, code);
}

static int run_set_if_absent(Txn *txn, Operation *operation) {
  const Text *key = word_of(operation, 1), *value = word_of(operation, 2);
  int inserted = 0;
  int code = kvstore_cf_put_if_absent(txn->family, key->data, (int)key->length, value->data, (int)value->length,
                                      cli_expiry_in(operation->ttl_seconds), &inserted);
  operation->answer = inserted ? ANSWER_YES : ANSWER_NO;
  return code == KVSTORE_OK ? CLI_DONE : refuse_code(txn, operation, code);
}

static int run_del(Txn *txn, Operation *operation) {
  const Text *key = word_of(operation, 1);
  if (operation->words.count == 3 && !word_is(word_of(operation, 2), "if-there"))
    return refuse(txn, operation, CLI_FAILED, "only if-there may follow the key");
  int code = kvstore_cf_delete(txn->family, key->data, (int)key->length);
  if (code == KVSTORE_NOTFOUND && operation->words.count == 3) return CLI_DONE;
  return code == KVSTORE_OK ? CLI_DONE : refuse_code(txn, operation, code);
}

static int run_get(Txn *txn, Operation *operation) {
  const Text *key = word_of(operation, 1);
  int code = kvstore_cf_get(txn->family, key->data, (int)key->length, &operation->value, &operation->value_length);
  operation->answer = ANSWER_VALUE;
  return code == KVSTORE_OK ? CLI_DONE : refuse_code(txn, operation, code);
}

static int run_expect(Txn *txn, Operation *operation) {
  const Text *key = word_of(operation, 1), *value = word_of(operation, 2);
  void *found = NULL;
  int length = 0;
  int code = kvstore_cf_get(txn->family, key->data, (int)key->length, &found, &length);
  int same = code == KVSTORE_OK && (size_t)length == value->length &&
             (length == 0 || memcmp(found, value->data, value->length) == 0);
  kvstore_free(found);
  if (code != KVSTORE_OK) return refuse_code(txn, operation, code);
  return same ? CLI_DONE : refuse(txn, operation, CLI_FAILED, "the key has another value");
}

static int run_absent(Txn *txn, Operation *operation) {
  const Text *key = word_of(operation, 1);
  int exists = 0;
  int code = kvstore_cf_exists(txn->family, key->data, (int)key->length, &exists);
  if (code != KVSTORE_OK) return refuse_code(txn, operation, code);
  return exists ? refuse(txn, operation, CLI_FAILED, "the key is there") : CLI_DONE;
}

static int run_clear(Txn *txn, Operation *operation) {
  int code = kvstore_cf_clear(txn->family);
  return code == KVSTORE_OK ? CLI_DONE : refuse_code(txn, operation, code);
}

/* From here on operations work on another family, which is made when it is missing. */
static int run_cf(Txn *txn, Operation *operation) {
  const Text *name = operation->words.count > 1 ? word_of(operation, 1) : NULL;
  KVColumnFamily *family = NULL;
  if (name && strlen(name->data) != name->length)
    return refuse(txn, operation, CLI_FAILED, "a family's name has no NUL byte");
  KVStore *kv = txn->cli->store;
  int code = name ? kvstore_cf_open(kv, name->data, &family) : kvstore_cf_get_default(kv, &family);
  if (name && code == KVSTORE_NOTFOUND) code = kvstore_cf_create(kv, name->data, &family);
  if (code != KVSTORE_OK) return refuse_code(txn, operation, code);
  kvstore_cf_close(txn->family);
  txn->family = family;
  return CLI_DONE;
}

static const Verb verbs[] = {
  { "put", "put KEY VALUE [ttl SECONDS]", 3, 3, 1, 1, run_put },
  { "set-if-absent", "set-if-absent KEY VALUE [ttl SECONDS]", 3, 3, 1, 1, run_set_if_absent },
  { "del", "del KEY [if-there]", 2, 3, 0, 1, run_del },
  { "get", "get KEY", 2, 2, 0, 1, run_get },
  { "expect", "expect KEY VALUE", 3, 3, 0, 1, run_expect },
  { "absent", "absent KEY", 2, 2, 0, 1, run_absent },
  { "clear", "clear", 1, 1, 0, 0, run_clear },
  { "cf", "cf [FAMILY]", 1, 2, 0, 0, run_cf },
};

/* ---- reading ---- */

static const Verb *find_verb(const Text *name) {
  for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
    if (word_is(name, verbs[i].name)) return &verbs[i];
  return NULL;
}

/* Takes `ttl SECONDS` off the end. 0, or 1 when the seconds are none. */
static int take_ttl(Operation *operation) {
  Words *words = &operation->words;
  if (!operation->verb->takes_ttl || words->count != operation->verb->words_max + 2 ||
      !word_is(&words->words[words->count - 2], "ttl"))
    return 0;
  const Text *seconds = &words->words[words->count - 1];
  uint64_t number = 0;
  if (seconds->length == 0 || seconds->length > 10) return 1;
  for (size_t i = 0; i < seconds->length; i++) {
    if (seconds->data[i] < '0' || seconds->data[i] > '9') return 1;
    number = number * 10 + (uint64_t)(seconds->data[i] - '0');
  }
  operation->ttl_seconds = number;
  text_free(&words->words[--words->count]);
  text_free(&words->words[--words->count]);
  return number < 1 || number > CLI_TTL_SECONDS_MAX;
}

static int understand(Txn *txn, Operation *operation) {
  const Words *words = &operation->words;
  operation->verb = find_verb(&words->words[0]);
  if (!operation->verb)
    return refuse(txn, operation, CLI_FAILED,
                  "an operation is put, set-if-absent, del, get, expect, absent, clear or cf");
  if (take_ttl(operation)) return refuse(txn, operation, CLI_FAILED, "ttl needs a whole number of seconds, at least 1");
  if (words->count < operation->verb->words_min || words->count > operation->verb->words_max) {
    char usage[96];
    snprintf(usage, sizeof usage, "it is %s", operation->verb->usage);
    return refuse(txn, operation, CLI_FAILED, usage);
  }
  if (operation->verb->has_key && (!words->words[1].length || words->words[1].length > KVSTORE_KEY_BYTES_MAX))
    return refuse(txn, operation, CLI_FAILED, "a key has 1 to 65536 bytes");
  for (size_t i = 0; i < words->count; i++)
    if (words->words[i].length > INT_MAX) return refuse(txn, operation, CLI_FAILED, "a word is too long");
  return CLI_DONE;
}

/* Adds the operation that `text` describes; of an empty line, none. */
static int add_operation(Txn *txn, const char *text, size_t length, size_t line) {
  if (txn->count == txn->capacity) {
    txn->capacity = txn->capacity ? txn->capacity * 2 : 16;
    txn->operations = cli_reallocate(txn->operations, txn->capacity, sizeof *txn->operations);
  }
  Operation *operation = &txn->operations[txn->count];
  memset(operation, 0, sizeof *operation);
  operation->line = line;
  const char *wrong = words_split(text, length, &operation->words);
  if (!wrong && !operation->words.count) {
    words_free(&operation->words);
    return CLI_DONE;
  }
  size_t shown = length;
  if (shown > 60) {
    shown = 60;
    while (shown && (text[shown] & 0xc0) == 0x80) shown--; /* no character is cut */
  }
  text_add_readable(&operation->text, text, shown);
  if (shown < length) text_add_string(&operation->text, "...");
  txn->count++;
  return wrong ? refuse(txn, operation, CLI_FAILED, wrong) : understand(txn, operation);
}

static int read_input(Txn *txn) {
  char *line = NULL;
  size_t capacity = 0;
  ssize_t length;
  int result = CLI_DONE;
  for (size_t number = 1; !result && (length = getline(&line, &capacity, stdin)) >= 0; number++) {
    if (length && line[length - 1] == '\n') length--;
    result = add_operation(txn, line, (size_t)length, number);
  }
  if (!result && ferror(stdin)) result = cli_fail("standard input cannot be read; nothing was done");
  free(line);
  return result;
}

static int read_operations(Txn *txn, const Arguments *arguments) {
  if (!arguments->word_count) return read_input(txn);
  int result = CLI_DONE;
  for (size_t i = 0; i < arguments->word_count && !result; i++)
    result = add_operation(txn, arguments->words[i], strlen(arguments->words[i]), 0);
  return result;
}

/* ---- running ---- */

/* The family is found, or made, inside the transaction too. What fails is rolled back by the close. */
static int run_operations(Txn *txn, const char *family) {
  int code = kvstore_begin(txn->cli->store, 1);
  if (code != KVSTORE_OK) return cli_fail_store(txn->cli, code, "nothing was done");
  int result = cli_find_family(txn->cli, family, 1, &txn->family);
  for (size_t i = 0; i < txn->count && !result; i++) result = txn->operations[i].verb->run(txn, &txn->operations[i]);
  if (result) return result;
  code = kvstore_commit(txn->cli->store);
  return code == KVSTORE_OK ? CLI_DONE : cli_fail_store(txn->cli, code, "nothing was done");
}

static void print_answer(const Operation *operation) {
  Text line = TEXT_EMPTY;
  if (operation->answer == ANSWER_VALUE) {
    text_add_readable(&line, operation->value ? operation->value : "", (size_t)operation->value_length);
    puts(line.data);
  } else if (operation->answer != ANSWER_NONE) {
    puts(operation->answer == ANSWER_YES ? "true" : "false");
  }
  text_free(&line);
}

static void json_answer(Json *json, const Operation *operation) {
  if (operation->answer == ANSWER_NONE) return;
  const Text *key = word_of(operation, 1);
  json_open_object(json, NULL);
  json_bytes(json, "key", key->data, key->length);
  if (operation->answer == ANSWER_VALUE) {
    json_bytes(json, "value", operation->value ? operation->value : "", (size_t)operation->value_length);
  } else {
    json_bool(json, "inserted", operation->answer == ANSWER_YES);
  }
  json_close(json);
}

static void print_answers(const Txn *txn) {
  Json json = { .file = stdout };
  if (txn->cli->json) {
    json_open_object(&json, NULL);
    json_u64(&json, "operations", txn->count);
    json_open_array(&json, "answers");
  }
  for (size_t i = 0; i < txn->count; i++) {
    if (txn->cli->json) {
      json_answer(&json, &txn->operations[i]);
    } else {
      print_answer(&txn->operations[i]);
    }
  }
  if (txn->cli->json) {
    json_close(&json);
    json_close(&json);
  }
}

static void txn_free(Txn *txn) {
  for (size_t i = 0; i < txn->count; i++) {
    words_free(&txn->operations[i].words);
    text_free(&txn->operations[i].text);
    kvstore_free(txn->operations[i].value);
  }
  free(txn->operations);
  kvstore_cf_close(txn->family);
}

static int run_txn(Cli *cli, const Arguments *arguments) {
  Txn txn = { .cli = cli };
  int result = read_operations(&txn, arguments);
  if (!result && !txn.count) result = cli_fail("there is no operation; colonnade help txn tells how they are written");
  if (!result) result = cli_open(cli, CLI_OPEN_CREATE);
  if (!result) result = run_operations(&txn, arguments_text(arguments, "cf"));
  if (!result) print_answers(&txn);
  txn_free(&txn);
  return result;
}

const Command command_txn = {
  .name = "txn",
  .words = "[OPERATION ...]",
  .summary = "several operations as one: all of them or nothing",
  .description =
    "Each OPERATION is one word of the shell, or a line of standard input when there is none: put KEY VALUE [ttl "
    "SECONDS], set-if-absent KEY VALUE [ttl SECONDS], del KEY [if-there], get KEY, clear, cf [FAMILY] (what follows "
    "works on that family), and two conditions: expect KEY VALUE, absent KEY. Words with spaces stand in 'quotes' or "
    "\"quotes\"; \\n, \\t, \\0, \\xHH and \\\\ are as usual, and # begins a comment. When one fails, or a del, get or "
    "expect "
    "finds no key (exit code 2), nothing is done and the message names it. Answers of get and set-if-absent are "
    "printed after the commit, a line each.",
  .example = "colonnade --db my.db txn \"put from 60\" \"put to 140 ttl 3600\" \"del note if-there\" \"get from\"",
  .options = NULL,
  .words_min = 0,
  .words_max = 100000,
  .uses_family = 1,
  .run = run_txn,
};
