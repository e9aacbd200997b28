/* cli_keys.c - keys and values: put, get, del, exists, list, scan, count. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/cli_grid.h"
#include "cli/cli_json.h"
#include "cli/cli_text.h"

/* ---- put ---- */

typedef struct PutLines {
  Cli *cli;
  KVColumnFamily *family;
  uint64_t ttl_seconds, batch, pending, count;
  int echo;
  Text echoes; /* keys of the open transaction */
} PutLines;

static int put_pair(KVColumnFamily *family, const char *key, size_t key_length, const char *value, size_t value_length,
                    uint64_t ttl_seconds) {
  int64_t expire_ms = cli_expiry_in(ttl_seconds);
  if (expire_ms) return kvstore_cf_put_ttl(family, key, (int)key_length, value, (int)value_length, expire_ms);
  return kvstore_cf_put(family, key, (int)key_length, value, (int)value_length);
}

/* Commits what is open; only then are its keys said to be there. */
static int commit_lines(PutLines *lines) {
  if (lines->pending && lines->batch > 1) {
    int code = kvstore_commit(lines->cli->store);
    if (code != KVSTORE_OK) return cli_fail_store(lines->cli, code, "the last lines were not stored");
  }
  lines->pending = 0;
  if (lines->echoes.length) {
    fwrite(lines->echoes.data, 1, lines->echoes.length, stdout);
    fflush(stdout);
    lines->echoes.length = 0;
  }
  return CLI_DONE;
}

static int put_line(PutLines *lines, const char *line, size_t length) {
  const char *tab = memchr(line, '\t', length);
  if (!tab) return cli_fail("line %" PRIu64 " has no tab between key and value", lines->count + 1);
  size_t key_length = (size_t)(tab - line);
  size_t value_length = length - key_length - 1;
  if (cli_not_a_key(line, key_length)) return CLI_FAILED;
  if (value_length > INT_MAX) return cli_fail("the value of line %" PRIu64 " is too long", lines->count + 1);
  int code = KVSTORE_OK;
  if (!lines->pending && lines->batch > 1) code = kvstore_begin(lines->cli->store, 1);
  if (code == KVSTORE_OK) code = put_pair(lines->family, line, key_length, tab + 1, value_length, lines->ttl_seconds);
  if (code != KVSTORE_OK) return cli_fail_store(lines->cli, code, "the line was not stored");
  if (lines->echo) {
    text_add(&lines->echoes, line, key_length);
    text_add(&lines->echoes, "\n", 1);
  }
  lines->count++;
  lines->pending++;
  return lines->pending >= lines->batch ? commit_lines(lines) : CLI_DONE;
}

static int put_from_input(Cli *cli, KVColumnFamily *family, const Arguments *arguments, uint64_t ttl_seconds) {
  PutLines lines = { .cli = cli, .family = family, .ttl_seconds = ttl_seconds, .batch = 1 };
  if (arguments_number(arguments, "batch", 1, 1000000, &lines.batch)) return CLI_FAILED;
  lines.echo = arguments_has(arguments, "echo");
  char *line = NULL;
  size_t capacity = 0;
  ssize_t length;
  int result = CLI_DONE;
  while (!result && (length = getline(&line, &capacity, stdin)) >= 0) {
    if (length && line[length - 1] == '\n') length--;
    result = put_line(&lines, line, (size_t)length);
  }
  if (!result && ferror(stdin)) result = cli_fail("standard input cannot be read: %s", strerror(errno));
  if (!result) result = commit_lines(&lines);
  free(line);
  text_free(&lines.echoes);
  if (!result && cli->json) {
    Json json = { .file = stdout };
    json_open_object(&json, NULL);
    json_u64(&json, "stored", lines.count);
    json_close(&json);
  } else if (!result && !lines.echo) {
    printf("%" PRIu64 " stored\n", lines.count);
  }
  return result;
}

static int run_put(Cli *cli, const Arguments *arguments) {
  int from_input = arguments_has(arguments, "stdin");
  uint64_t ttl_seconds = 0;
  if (arguments_number(arguments, "ttl", 1, CLI_TTL_SECONDS_MAX, &ttl_seconds)) return CLI_FAILED;
  if (from_input ? arguments->word_count != 0 : arguments->word_count != 2)
    return cli_fail("put takes a key and a value, or --stdin and neither");
  const char *key = from_input ? "" : arguments->words[0];
  if (!from_input && cli_not_a_key(key, strlen(key))) return CLI_FAILED;
  KVColumnFamily *family;
  int result = cli_open_family(cli, arguments, CLI_OPEN_CREATE, &family);
  if (!result && from_input) {
    result = put_from_input(cli, family, arguments, ttl_seconds);
  } else if (!result) {
    const char *value = arguments->words[1];
    int code = put_pair(family, key, strlen(key), value, strlen(value), ttl_seconds);
    result = code == KVSTORE_OK ? cli_say_done(cli, "stored") : cli_fail_store(cli, code, "the value was not stored");
  }
  kvstore_cf_close(family);
  return result;
}

/* ---- get, del, exists ---- */

static void print_value(const Cli *cli, const Arguments *arguments, const void *value, size_t length,
                        int64_t remaining_ms) {
  const char *key = arguments->words[0];
  if (cli->json) {
    Json json = { .file = stdout };
    json_open_object(&json, NULL);
    json_string(&json, "key", key);
    json_bytes(&json, "value", value, length);
    if (remaining_ms == KVSTORE_NO_TTL) {
      json_null(&json, "expires_in_ms");
    } else {
      json_i64(&json, "expires_in_ms", remaining_ms);
    }
    json_close(&json);
  } else if (arguments_has(arguments, "raw")) {
    fwrite(value, 1, length, stdout);
  } else if (text_is_utf8(value, length)) {
    fwrite(value, 1, length, stdout);
    putchar('\n');
  } else {
    Text text = TEXT_EMPTY;
    text_add_hex(&text, value, length);
    puts(text.data);
    text_free(&text);
  }
}

static int run_get(Cli *cli, const Arguments *arguments) {
  KVColumnFamily *family;
  int result = cli_open_family(cli, arguments, CLI_OPEN_READ, &family);
  if (!result) {
    const char *key = arguments->words[0];
    void *value;
    int length;
    int64_t remaining_ms;
    int code = kvstore_cf_get_ttl(family, key, (int)strlen(key), &value, &length, &remaining_ms);
    if (code == KVSTORE_OK) {
      print_value(cli, arguments, value ? value : "", (size_t)length, remaining_ms);
      kvstore_free(value);
    } else {
      result = code == KVSTORE_NOTFOUND ? cli_not_found("there is no key %s", key) : cli_fail_store(cli, code, NULL);
    }
  }
  kvstore_cf_close(family);
  return result;
}

static int run_del(Cli *cli, const Arguments *arguments) {
  KVColumnFamily *family;
  int result = cli_open_family(cli, arguments, CLI_OPEN_WRITE, &family);
  if (!result) {
    const char *key = arguments->words[0];
    int code = kvstore_cf_delete(family, key, (int)strlen(key));
    if (code == KVSTORE_NOTFOUND) {
      result = cli_not_found("there is no key %s", key);
    } else {
      result = code == KVSTORE_OK ? cli_say_done(cli, "deleted") : cli_fail_store(cli, code, "the key was not deleted");
    }
  }
  kvstore_cf_close(family);
  return result;
}

static int run_exists(Cli *cli, const Arguments *arguments) {
  KVColumnFamily *family;
  int result = cli_open_family(cli, arguments, CLI_OPEN_READ, &family);
  if (!result) {
    const char *key = arguments->words[0];
    int exists = 0;
    int code = kvstore_cf_exists(family, key, (int)strlen(key), &exists);
    if (code != KVSTORE_OK) {
      result = cli_fail_store(cli, code, NULL);
    } else {
      if (cli->json) {
        Json json = { .file = stdout };
        json_open_object(&json, NULL);
        json_bool(&json, "exists", exists);
        json_close(&json);
      } else {
        puts(exists ? "true" : "false");
      }
      result = exists ? CLI_DONE : CLI_NOT_FOUND;
    }
  }
  kvstore_cf_close(family);
  return result;
}

/* ---- scan, count ---- */

static int open_iterator(Cli *cli, KVColumnFamily *family, const Arguments *arguments, KVIterator **iterator) {
  const char *prefix = arguments_text(arguments, "prefix");
  if (prefix && arguments->word_count)
    return cli_fail("one prefix is enough: %s, or --prefix %s", arguments->words[0], prefix);
  if (arguments->word_count) prefix = arguments->words[0];
  int length = prefix ? (int)strlen(prefix) : 0;
  int reverse = arguments_has(arguments, "reverse");
  int code;
  if (length) {
    code = reverse ? kvstore_cf_reverse_prefix_iterator_create(family, prefix, length, iterator)
                   : kvstore_cf_prefix_iterator_create(family, prefix, length, iterator);
  } else {
    code =
      reverse ? kvstore_cf_reverse_iterator_create(family, iterator) : kvstore_cf_iterator_create(family, iterator);
    if (code == KVSTORE_OK) code = reverse ? kvstore_iterator_last(*iterator) : kvstore_iterator_first(*iterator);
  }
  return code == KVSTORE_OK ? CLI_DONE : cli_fail_store(cli, code, NULL);
}

static int step(KVIterator *iterator, int reverse) {
  return reverse ? kvstore_iterator_prev(iterator) : kvstore_iterator_next(iterator);
}

typedef struct ScanOutput {
  int with_values;
  int use_json;
  Json json;
  Grid grid;
  Text cell;
} ScanOutput;

static void scan_output_begin(ScanOutput *output, const Cli *cli, int with_values) {
  memset(output, 0, sizeof *output);
  output->with_values = with_values;
  output->use_json = cli->json;
  output->json.file = stdout;
  if (output->use_json) {
    json_open_array(&output->json, NULL);
  } else {
    grid_begin(&output->grid, stdout, NULL, NULL, with_values ? 2 : 1, cli->aligned);
  }
}

static void scan_output_cell(ScanOutput *output, const char *name, const void *data, int length) {
  if (output->use_json) {
    json_bytes(&output->json, name, length ? data : "", (size_t)length);
    return;
  }
  output->cell.length = 0;
  text_add_readable(&output->cell, length ? data : "", (size_t)length);
  grid_cell(&output->grid, output->cell.data, output->cell.length);
}

static int scan_output_row(ScanOutput *output, KVIterator *iterator) {
  void *key, *value = NULL;
  int key_length, value_length = 0;
  int code = kvstore_iterator_key(iterator, &key, &key_length);
  if (code == KVSTORE_OK && output->with_values) code = kvstore_iterator_value(iterator, &value, &value_length);
  if (code != KVSTORE_OK) return code;
  int as_object = output->use_json && output->with_values;
  if (as_object) json_open_object(&output->json, NULL);
  scan_output_cell(output, as_object ? "key" : NULL, key, key_length);
  if (output->with_values) scan_output_cell(output, "value", value, value_length);
  if (as_object) json_close(&output->json);
  return KVSTORE_OK;
}

static void scan_output_end(ScanOutput *output) {
  if (output->use_json) {
    json_close(&output->json);
  } else {
    grid_end(&output->grid);
  }
  text_free(&output->cell);
}

static int walk(Cli *cli, const Arguments *arguments, int with_values) {
  uint64_t limit = UINT64_MAX;
  if (arguments_number(arguments, "limit", 0, UINT64_MAX, &limit)) return CLI_FAILED;
  KVColumnFamily *family;
  KVIterator *iterator = NULL;
  int result = cli_open_family(cli, arguments, CLI_OPEN_READ, &family);
  if (!result) result = open_iterator(cli, family, arguments, &iterator);
  if (!result) {
    int reverse = arguments_has(arguments, "reverse");
    ScanOutput output;
    scan_output_begin(&output, cli, with_values);
    int code = KVSTORE_OK;
    for (uint64_t i = 0; i < limit && code == KVSTORE_OK && !kvstore_iterator_eof(iterator); i++) {
      code = scan_output_row(&output, iterator);
      if (code == KVSTORE_OK) code = step(iterator, reverse);
    }
    scan_output_end(&output);
    if (code != KVSTORE_OK) result = cli_fail_store(cli, code, "the scan ended early");
  }
  kvstore_iterator_close(iterator);
  kvstore_cf_close(family);
  return result;
}

static int run_list(Cli *cli, const Arguments *arguments) { return walk(cli, arguments, 0); }

static int run_scan(Cli *cli, const Arguments *arguments) {
  return walk(cli, arguments, !arguments_has(arguments, "keys"));
}

static int run_count(Cli *cli, const Arguments *arguments) {
  KVColumnFamily *family;
  KVIterator *iterator = NULL;
  int result = cli_open_family(cli, arguments, CLI_OPEN_READ, &family);
  if (!result) result = open_iterator(cli, family, arguments, &iterator);
  if (!result) {
    uint64_t count = 0;
    int code = KVSTORE_OK;
    while (code == KVSTORE_OK && !kvstore_iterator_eof(iterator)) {
      count++;
      code = kvstore_iterator_next(iterator);
    }
    if (code != KVSTORE_OK) {
      result = cli_fail_store(cli, code, "the count ended early");
    } else {
      cli_say_number(cli, "count", count);
    }
  }
  kvstore_iterator_close(iterator);
  kvstore_cf_close(family);
  return result;
}

/* ---- the commands ---- */

static const OptionSpec put_options[] = {
  { "ttl", "SECONDS", "the key is gone after so many seconds" },
  { "stdin", NULL, "read lines of key, tab, value from standard input" },
  { "batch", "N", "with --stdin: so many lines are stored together, all or nothing (default: 1)" },
  { "echo", NULL, "with --stdin: print each key once it is safely stored" },
  { NULL, NULL, NULL },
};
const Command command_put = {
  .name = "put",
  .words = "KEY VALUE",
  .summary = "store a value under a key",
  .description = "Inserts or replaces. When put returns, the value survives the death of the program; with --sync full "
                 "also a power cut. A family is made when it is missing.",
  .example = "colonnade --db my.db put session:42 Ada --cf sessions --ttl 3600",
  .options = put_options,
  .words_min = 0,
  .words_max = 2,
  .uses_family = 1,
  .run = run_put,
};

static const OptionSpec get_options[] = {
  { "raw", NULL, "the bytes of the value and nothing else" },
  { NULL, NULL, NULL },
};
const Command command_get = {
  .name = "get",
  .words = "KEY",
  .summary = "print the value of a key",
  .description = "Exits with 2 when there is no such key, or it has expired. A value that is not UTF-8 is printed as "
                 "<hex:AABB>; --raw gives its bytes.",
  .example = "colonnade --db my.db get session:42 --cf sessions",
  .options = get_options,
  .words_min = 1,
  .words_max = 1,
  .uses_family = 1,
  .run = run_get,
};

const Command command_del = {
  .name = "del",
  .words = "KEY",
  .summary = "delete a key",
  .description = "Exits with 2 when there is no such key, or it has expired.",
  .example = "colonnade --db my.db del session:42 --cf sessions",
  .options = NULL,
  .words_min = 1,
  .words_max = 1,
  .uses_family = 1,
  .run = run_del,
};
const Command command_exists = {
  .name = "exists",
  .words = "KEY",
  .summary = "say whether a key is there",
  .description = "Prints true and exits with 0, or prints false and exits with 2.",
  .example = "colonnade --db my.db exists session:42 --cf sessions",
  .options = NULL,
  .words_min = 1,
  .words_max = 1,
  .uses_family = 1,
  .run = run_exists,
};

static const OptionSpec scan_options[] = {
  { "prefix", "TEXT", "the same as a word" },
  { "reverse", NULL, "from the last key to the first" },
  { "limit", "N", "at most so many" },
  { "keys", NULL, "without the values" },
  { NULL, NULL, NULL },
};
static const OptionSpec list_options[] = {
  { "prefix", "TEXT", "the same as a word" },
  { "reverse", NULL, "from the last key to the first" },
  { "limit", "N", "at most so many" },
  { NULL, NULL, NULL },
};
const Command command_list = {
  .name = "list",
  .words = "[PREFIX]",
  .summary = "list keys in their order",
  .description =
    "One key a line: all, or those that begin with PREFIX. Expired keys are passed over. Control characters "
    "inside are written as \\n, \\t, \\x1B.",
  .example = "colonnade --db my.db list session: --cf sessions --limit 10",
  .options = list_options,
  .words_min = 0,
  .words_max = 1,
  .uses_family = 1,
  .run = run_list,
};
const Command command_scan = {
  .name = "scan",
  .words = "[PREFIX]",
  .summary = "list keys and values in the order of the keys",
  .description = "One pair a line, a tab between key and value: all, or those whose key begins with PREFIX. Expired "
                 "keys are passed over. Line breaks and tabs inside "
                 "are written as \\n and \\t; --format json keeps every byte of text apart.",
  .example = "colonnade --db my.db scan session: --cf sessions --limit 10",
  .options = scan_options,
  .words_min = 0,
  .words_max = 1,
  .uses_family = 1,
  .run = run_scan,
};

static const OptionSpec count_options[] = {
  { "prefix", "TEXT", "the same as a word" },
  { NULL, NULL, NULL },
};
const Command command_count = {
  .name = "count",
  .words = "[PREFIX]",
  .summary = "count keys",
  .description = "Walks over the keys and counts those that are there now; expired ones are not. Rows of a table are "
                 "counted by query TABLE --count.",
  .example = "colonnade --db my.db count session: --cf sessions",
  .options = count_options,
  .words_min = 0,
  .words_max = 1,
  .uses_family = 1,
  .run = run_count,
};
